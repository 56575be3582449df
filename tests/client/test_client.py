"""The reward client: retries, the deadline, connections and settings."""

import json
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest

from podium.client import DEFAULT_DEADLINE_S, AsyncRankClient
from podium.connections import MAX_CONNECTIONS
from podium.errors import (
    DeadlineExceeded,
    RankError,
    RequestRefused,
    ServiceAbsent,
    ServiceUnavailable,
)
from podium.groups import Trajectory, TrajectoryGroup
from tests.client.helpers import (
    GROUPS,
    KEY,
    client,
    codes,
    group,
    lines_app,
    rank,
    rank_all,
    rank_it,
)
from tests.fake_service import (
    Answer,
    Script,
    fail,
    problem,
    refuse,
    say,
    scripted,
    serve,
)


@pytest.mark.anyio
async def test_a_retryable_failure_is_sent_again_with_the_time_left() -> None:
    again = refuse(503, "draining", retryable=True)
    with scripted(again, fail(httpx.ReadError("reset")), rank_it) as script:
        async with client(script, deadline_s=20) as podium:
            got = await podium.rank(group())
    assert got.rewards == [0.9, 0.1]
    left = [body.pop("deadline_s") for body in script.bodies]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 3
    assert script.bodies[0].keys() == script.bodies[2].keys()


@pytest.mark.anyio
async def test_the_wait_between_attempts_grows() -> None:
    times: list[float] = []

    def down(request: httpx.Request) -> httpx.Response:
        times.append(time.monotonic())
        return httpx.Response(503)

    transport = httpx.MockTransport(down)
    async with AsyncRankClient("http://x", transport=transport, deadline_s=1.5) as podium:
        with pytest.raises(RankError):
            await podium.rank(group())
    assert len(times) <= 4  # .125 + .25 + .5 s at least, and the next wait would be 1 s


@pytest.mark.anyio
@pytest.mark.parametrize("status", [422, 502, 503])
async def test_a_final_failure_is_not_sent_again(status: int) -> None:
    with pytest.raises(RankError):
        await rank(refuse(status, "final", retryable=False))


@pytest.mark.anyio
async def test_retry_after_is_a_floor_for_the_wait() -> None:
    busy = refuse(429, "busy", retryable=True, headers={"retry-after": "0.3"})
    before = time.monotonic()
    await rank(busy, rank_it)
    assert time.monotonic() - before >= 0.3


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_wait_beyond_the_deadline_gives_the_last_error_at_once(form: str) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    after = {"seconds": "30", "date": in_an_hour}[form]
    busy = refuse(429, "busy", retryable=True, headers={"retry-after": after})
    before = time.monotonic()
    with pytest.raises(ServiceUnavailable) as caught:
        await rank(busy, deadline_s=20)
    assert time.monotonic() - before < 10
    assert caught.value.retry_after_s > 20


@pytest.mark.anyio
@pytest.mark.parametrize("after", ["soon", "nan", "-5", "inf", "Wed, 21 Oct 2015 07:28:00"])
async def test_an_unusable_retry_after_is_no_wait(after: str) -> None:
    busy = refuse(503, "busy", retryable=True, headers={"retry-after": after})
    got = await rank(busy, rank_it)
    assert got.mask


@pytest.mark.anyio
async def test_a_silent_service_is_given_up_at_the_deadline() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    transport = httpx.MockTransport(hang)
    async with AsyncRankClient("http://x", transport=transport, deadline_s=0.05) as podium:
        with anyio.fail_after(10):
            with pytest.raises(DeadlineExceeded):
                await podium.rank(group())
            (got,) = await podium.rank_many([group()])
    assert isinstance(got.error, DeadlineExceeded)


@pytest.mark.anyio
async def test_no_request_is_sent_once_the_deadline_has_passed() -> None:
    with pytest.raises(DeadlineExceeded, match="before the request was sent"):
        await rank(deadline_s=0.0005)


@pytest.mark.anyio
async def test_at_most_64_requests_are_open_and_waits_count() -> None:
    open_now, most, left = 0, 0, []
    full = anyio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal open_now, most
        left.append(json.loads(request.content)["deadline_s"])
        open_now += 1
        most = max(most, open_now)
        if open_now == MAX_CONNECTIONS:
            await anyio.sleep(0.05)
            full.set()
        await full.wait()
        open_now -= 1
        return rank_it(request)

    transport = httpx.MockTransport(answer)
    podium = AsyncRankClient("http://x", transport=transport)
    async with podium, anyio.create_task_group() as tasks:
        for _ in range(MAX_CONNECTIONS + 6):
            tasks.start_soon(podium.rank, group())
    assert most == MAX_CONNECTIONS
    assert max(left[MAX_CONNECTIONS:]) <= DEFAULT_DEADLINE_S - 0.049


@pytest.mark.anyio
async def test_the_global_random_state_does_not_change() -> None:
    before = random.getstate()
    await rank(refuse(503, "draining", retryable=True), rank_it)
    assert random.getstate() == before


@pytest.mark.anyio
async def test_a_refused_large_body_is_no_broken_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = json.dumps(problem(413, "body_too_large", retryable=False)).encode()
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": body})

    large = TrajectoryGroup([Trajectory("a", [{"role": "user", "content": "x" * 2**24}])])
    with serve(app) as url:
        async with AsyncRankClient(url, deadline_s=30) as podium:
            with pytest.raises(RequestRefused, match="body_too_large"):
                await podium.rank(large)


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
async def test_a_service_that_is_gone_again_masks_all_groups() -> None:
    seen: list[int] = []
    with serve(lines_app(lambda n: None, [])) as url:
        podium = AsyncRankClient(url)
        await podium.rank_many(GROUPS)
    async with podium:
        got = await podium.rank_many(GROUPS, on_progress=lambda done, total: seen.append(done))
        with pytest.raises(ServiceUnavailable):
            await podium.rank(GROUPS[0])
    assert codes(got) == ["connection_failed"] * 3
    assert [answer.mask for answer in got] == [False] * 3
    assert seen == [1, 2, 3]


@pytest.mark.anyio
@pytest.mark.parametrize("call", ["rank", "try_rank", "rank_many"])
async def test_a_service_that_never_answered_is_given_up_soon(free_url: str, call: str) -> None:
    before = time.monotonic()
    async with AsyncRankClient(free_url) as podium:
        with pytest.raises(ServiceAbsent, match="start a service with `podium serve`") as caught:
            await getattr(podium, call)(GROUPS if call == "rank_many" else GROUPS[0])
    assert time.monotonic() - before < 3
    assert free_url in caught.value.detail


@pytest.mark.anyio
async def test_a_service_that_is_just_starting_is_waited_for() -> None:
    refused = fail(httpx.ConnectError("refused"))
    got = await rank(refused, refused, rank_it)
    assert got.mask


@pytest.mark.anyio
async def test_a_call_may_have_a_deadline_of_its_own() -> None:
    with scripted(rank_it, rank_it, rank_all, rank_it) as script:
        async with client(script, deadline_s=100) as podium:
            await podium.rank(group(), deadline_s=20)
            await podium.try_rank(group(), deadline_s=30)
            await podium.rank_many(GROUPS, deadline_s=40)
            await podium.rank(group())
            with pytest.raises(ValueError, match="deadline_s must be a positive number"):
                await podium.rank(group(), deadline_s=0)
    assert [round(body["deadline_s"]) for body in script.bodies] == [20, 30, 40, 100]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        refuse(502, "judge_refused", retryable=False),
        refuse(503, "judge_unavailable", retryable=False),
        refuse(504, "deadline_exceeded", retryable=False),
        say(content=b"no ranking"),
    ],
)
async def test_try_rank_masks_a_failure_that_rank_raises(answer: Answer) -> None:
    with scripted(answer, rank_it) as script:
        async with client(script) as podium:
            lost, ranked = await podium.try_rank(group()), await podium.try_rank(group())
    assert (lost.mask, lost.rewards, lost.results) == (False, None, None)
    assert lost.error is not None
    assert ranked.rewards == [0.9, 0.1]


@pytest.mark.anyio
async def test_proxies_of_the_environment_are_not_used(
    free_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, free_url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(lines_app(lambda n: None, [])) as url:
        async with AsyncRankClient(url, deadline_s=5) as podium:
            (got,) = await podium.rank_many(GROUPS[:1])
    assert got.mask


@pytest.mark.anyio
async def test_url_and_key_come_from_the_environment_unless_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PODIUM_URL", "http://podium.test:81/prefix")
    monkeypatch.setenv("PODIUM_API_KEY", f"{KEY}\n")
    with scripted(rank_it, rank_it) as script:
        async with AsyncRankClient(transport=script.transport) as podium:
            await podium.rank(group())
        async with client(script, api_key="another") as podium:
            await podium.rank(group())
    first, second = script.requests
    assert str(first.url) == "http://podium.test:81/prefix/rank"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert second.headers["authorization"] == "Bearer another"


@pytest.mark.anyio
async def test_without_a_key_no_header_is_sent() -> None:
    with scripted(rank_it) as script:
        async with client(script) as podium:
            await podium.rank(group())
    assert "authorization" not in script.requests[0].headers


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
async def test_the_key_is_in_no_repr_and_no_error() -> None:
    errors: list[RankError] = []
    for answer in (refuse(401, "unauthorized", retryable=False), fail(httpx.ReadError("reset"))):
        podium = client(Script(answer), api_key=KEY)
        with pytest.raises(RankError) as caught:
            await podium.rank(group())
        errors.append(caught.value)
    shown = [repr(podium), str(vars(podium)), *map(str, errors), *map(repr, errors)]
    shown += [repr(vars(error)) + repr(error.__cause__) for error in errors]
    assert repr(podium) == "AsyncRankClient('http://podium.test')"
    assert not [text for text in shown if KEY in text]


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("localhost:8000", {}),
        ("ftp://podium.test", {}),
        ("http://", {}),
        ("http://podium.test:port", {}),
        (f"http://user:{KEY}@podium.test", {}),
        (None, {"api_key": f"{KEY}\x00"}),
        (None, {"api_key": f"{KEY}é"}),
        (None, {"deadline_s": 0}),
        (None, {"deadline_s": float("nan")}),
        (None, {"deadline_s": float("inf")}),
        (None, {"max_dry": 0}),
    ],
)
def test_unusable_settings_are_refused_and_no_key_is_shown(
    url: str | None, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"URL|key|deadline|max_dry") as caught:
        AsyncRankClient(url, **settings)
    assert KEY not in str(caught.value)
