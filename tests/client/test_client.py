"""The reward client against scripted answers, and against real servers that break connections."""

import json
import pickle
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium import client as client_module
from podium.batch import MAX_BATCH_BYTES, MAX_BATCH_GROUPS, split_into_chunks
from podium.blocking_client import RankClient
from podium.client import DEFAULT_DEADLINE_S, MAX_CONNECTIONS, AsyncRankClient
from podium.errors import (
    DeadlineExceeded,
    JudgeFailed,
    ProtocolError,
    RankError,
    RequestRefused,
    ServiceUnavailable,
    Unauthorized,
)
from podium.types import GroupReward, Ranking, Trajectory, TrajectoryGroup, rewards_in_order
from tests.fake_service import (
    Answer,
    Script,
    Wire,
    fail,
    failed,
    line,
    problem,
    ranked,
    ranking,
    refuse,
    say,
    scripted,
    serve,
    stream,
)

KEY = "sk-podium-secret"
REWARDS = {"a": 0.9, "b": 0.1}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PODIUM_URL", raising=False)
    monkeypatch.delenv("PODIUM_API_KEY", raising=False)


def group(group_id: str | None = None, ids: str = "ab", **more: Any) -> TrajectoryGroup:
    messages = [{"role": "user", "content": "2 + 2 ="}, {"role": "assistant", "content": "4"}]
    return TrajectoryGroup([Trajectory(id, messages) for id in ids], group_id, **more)


def client(script: Script, **settings: Any) -> AsyncRankClient:
    return AsyncRankClient("http://podium.test", transport=script.transport, **settings)


def rank_it(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=ranking(json.loads(request.content), REWARDS))


def rank_all(request: httpx.Request) -> httpx.Response:
    groups = json.loads(request.content)["groups"]
    return httpx.Response(
        200, content=b"".join(ranked(i, g, REWARDS) for i, g in enumerate(groups))
    )


async def rank(*answers: Answer, asked: TrajectoryGroup | None = None, **settings: Any) -> Any:
    with scripted(*answers) as script:
        async with client(script, **settings) as podium:
            return await podium.rank(asked or group())


# One group


@pytest.mark.anyio
async def test_rewards_come_in_the_order_of_the_request() -> None:
    answer = ranking({}, {"c": 0.3, "a": 0.1, "b": 0.2})
    got = await rank(say(json=answer), asked=group(ids="abc"))
    assert got.rewards == [0.1, 0.2, 0.3]
    assert got.mask is True
    assert got.error is None
    assert got.ranking.judge == "main"


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_a_permutation_moves_no_reward_to_another_id(asked: list[int], answered: list[int]) -> None:
    wire = ranking({}, {str(i): i / 10 for i in answered})
    asked_group = TrajectoryGroup([Trajectory(str(i), []) for i in asked])
    assert rewards_in_order(asked_group, Ranking.model_validate(wire)) == [i / 10 for i in asked]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "answered"),
    [("abc", "ab"), ("ab", "abc"), ("ab", "ax"), ("ab", ""), ("ab", "aab"), ("aa", "aa")],
)
async def test_a_missing_unknown_or_repeated_id_is_an_error(asked: str, answered: str) -> None:
    answer = ranking({}, REWARDS)
    answer["results"] = [{"id": id, "rank": 1, "reward": 0.5} for id in answered]
    with pytest.raises(ProtocolError) as caught:
        await rank(say(json=answer), asked=group(ids=asked))
    assert caught.value.code == "wrong_ids"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reward", ["NaN", "Infinity", "-Infinity", "1e999", "-0.01", "1.01", '"0.8"', "true", "null"]
)
async def test_a_value_outside_0_to_1_never_becomes_a_reward(reward: str) -> None:
    body = json.dumps(ranking({}, {"a": "REWARD", "b": 0.5})).replace('"REWARD"', reward)
    with pytest.raises(ProtocolError, match="reward") as caught:
        await rank(say(content=body.encode()))
    assert not caught.value.retryable


@pytest.mark.anyio
@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_an_infinite_or_nan_number_is_a_protocol_error(number: str) -> None:
    body = json.dumps(ranking({}, REWARDS, reliability="NUMBER")).replace('"NUMBER"', number)
    with pytest.raises(ProtocolError, match="reliability"):
        await rank(say(content=body.encode()))


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id":', b"\xff", b"[" * 5000])
async def test_a_200_that_is_no_ranking_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        await rank(say(content=body))


@pytest.mark.anyio
async def test_an_answer_about_another_group_is_a_protocol_error() -> None:
    answer = ranking({"group_id": "theirs"}, REWARDS)
    with pytest.raises(ProtocolError, match="theirs"):
        await rank(say(json=answer), asked=group("ours"))


@pytest.mark.anyio
async def test_fields_of_a_newer_service_are_ignored() -> None:
    answer = ranking({}, REWARDS, fallback_from="main", new_field={"x": 1}, usage=None)
    got = await rank(say(json=answer))
    assert got.ranking.fallback_from == "main"
    assert got.ranking.model is None


@pytest.mark.anyio
async def test_the_request_holds_the_set_fields_and_the_time_left() -> None:
    messages = [{"role": "user", "content": "hi", "extra": 1}]
    a, b = Trajectory("a", messages, finish_reason="stop", verified_reward=0.0), Trajectory("b", [])
    asked = TrajectoryGroup([a, b], "g", judge="main", task="t", metadata={"step": 12})
    with scripted(rank_it) as script:
        async with client(script, deadline_s=30) as podium:
            await podium.rank(asked)
    (body,) = script.bodies
    assert 20 < body.pop("deadline_s") <= 30
    assert body == {
        "group_id": "g",
        "judge": "main",
        "task": "t",
        "metadata": {"step": 12},
        "trajectories": [
            {"id": "a", "messages": messages, "finish_reason": "stop", "verified_reward": 0.0},
            {"id": "b", "messages": []},
        ],
    }


# Errors


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "branch"),
    [
        (400, RequestRefused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, RequestRefused),
        (413, RequestRefused),
        (422, RequestRefused),
        (429, ServiceUnavailable),
        (500, ServiceUnavailable),
        (502, JudgeFailed),
        (503, ServiceUnavailable),
        (504, DeadlineExceeded),
    ],
)
async def test_each_status_has_its_branch_and_keeps_the_problem(
    status: int, branch: type[RankError]
) -> None:
    body = problem(status, "its_code", retryable=False, errors=[{"loc": "judge", "msg": "unknown"}])
    with pytest.raises(branch) as caught:
        await rank(say(status, json=body))
    error = caught.value
    assert (error.code, error.status, error.retryable) == ("its_code", status, False)
    assert (error.request_id, error.detail) == ("rq_7", "told in one line")
    assert error.errors == [{"loc": "judge", "msg": "unknown"}]
    assert str(error).startswith("its_code: told in one line [{'loc': 'judge'")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "branch", "retryable"),
    [
        (204, ProtocolError, False),
        (302, RequestRefused, False),
        (404, RequestRefused, False),
        (429, ServiceUnavailable, True),
        (500, ServiceUnavailable, True),
        (502, ServiceUnavailable, True),
        (504, DeadlineExceeded, True),
    ],
)
async def test_a_gateways_answer_is_typed_and_its_text_not_quoted(
    status: int, branch: type[RankError], retryable: bool
) -> None:
    answer = say(status, text=f"gateway echoes {KEY}", headers={"retry-after": "3600"})
    with pytest.raises(branch) as caught:
        await rank(answer, api_key=KEY)
    assert caught.value.retryable is retryable
    assert KEY not in str(caught.value)


@pytest.mark.anyio
async def test_a_redirect_is_refused_and_not_followed() -> None:
    answer = say(307, headers={"location": "http://elsewhere.test/rank"})
    with pytest.raises(RequestRefused, match="redirects are not followed"):
        await rank(answer, api_key=KEY)


def _leaves(branch: type[httpx.RequestError]) -> Iterator[type[httpx.RequestError]]:
    children = branch.__subclasses__()
    if not children:
        yield branch
    for child in children:
        yield from _leaves(child)


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """No deadline leaves time for a second one."""
    monkeypatch.setattr(client_module, "FIRST_BACKOFF_S", 1e6)


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize("leaf", list(_leaves(httpx.RequestError)))
async def test_every_error_of_httpx_is_mapped(leaf: type[httpx.RequestError]) -> None:
    async with client(Script(fail(leaf("it broke")))) as podium:
        with pytest.raises(RankError, match="it broke") as caught:
            await podium.rank(group())
    assert caught.value.status in (None, 200)


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize(
    ("exc", "branch", "code"),
    [
        (httpx.ConnectError("x"), ServiceUnavailable, "connection_failed"),
        (httpx.ConnectTimeout("x"), ServiceUnavailable, "connection_failed"),
        (httpx.ReadError("x"), ServiceUnavailable, "connection_broken"),
        (httpx.RemoteProtocolError("x"), ServiceUnavailable, "connection_broken"),
        (httpx.ReadTimeout("x"), DeadlineExceeded, "deadline_exceeded"),
        (httpx.DecodingError("x"), ProtocolError, "undecodable_answer"),
    ],
)
@pytest.mark.parametrize("while_reading", [False, True])
async def test_a_failed_connection_differs_from_an_unreadable_answer(
    exc: Exception, branch: type[RankError], code: str, while_reading: bool
) -> None:
    answer = stream(b"{", breaks=exc) if while_reading else fail(exc)
    with pytest.raises(branch) as caught:
        await rank(answer)
    assert caught.value.code == code


def test_errors_survive_pickling() -> None:
    error = JudgeFailed("c", 502, True, "rq", "d", errors=[{"loc": "x"}], retry_after_s=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is JudgeFailed
    assert vars(copy) == vars(error)


# Retries and the deadline


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


# Many groups


async def rank_many(
    groups: list[TrajectoryGroup], *answers: Answer, **settings: Any
) -> tuple[list[GroupReward], list[Wire]]:
    with scripted(*answers) as script:
        async with client(script, **settings) as podium:
            got = await podium.rank_many(groups)
    return got, script.bodies


def codes(answers: list[GroupReward]) -> list[str | None]:
    return [answer.error.code if answer.error else None for answer in answers]


def asked_for(body: Wire) -> list[str]:
    return [wire["group_id"] for wire in body["groups"]]


GROUPS = [group("g0"), group("g1"), group("g2")]
G0, G1, G2 = (g.to_wire() for g in GROUPS)
PROBLEM = problem(503, "judge_down", retryable=True)


@pytest.mark.anyio
async def test_no_groups_need_no_request() -> None:
    assert await rank_many([]) == ([], [])


@pytest.mark.anyio
async def test_lines_may_come_in_any_order_and_failures_are_masked() -> None:
    lines = stream(
        ranked(2, G2, {"b": 0.2, "a": 0.8}),
        failed(0, 502, "verdict_invalid", retryable=False),
        ranked(1, G1, REWARDS),
    )
    got, (body,) = await rank_many(GROUPS, lines)
    assert [answer.mask for answer in got] == [False, True, True]
    assert [answer.rewards for answer in got] == [None, [0.9, 0.1], [0.8, 0.2]]
    assert isinstance(got[0].error, JudgeFailed)
    assert got[0].ranking is None
    assert asked_for(body) == ["g0", "g1", "g2"]
    assert 100 < body["deadline_s"] <= 120


@pytest.mark.anyio
async def test_only_groups_with_retryable_errors_are_sent_again() -> None:
    first = stream(
        ranked(0, G0, REWARDS),
        failed(1, 503, "judge_unavailable", retryable=True),
        failed(2, 422, "unknown_judge", retryable=False),
    )
    got, bodies = await rank_many(GROUPS, first, stream(ranked(0, G1, {"a": 0.4, "b": 0.6})))
    assert [asked_for(body) for body in bodies] == [["g0", "g1", "g2"], ["g1"]]
    assert [answer.rewards for answer in got] == [[0.9, 0.1], [0.4, 0.6], None]
    assert bodies[1]["deadline_s"] < bodies[0]["deadline_s"]


@pytest.mark.anyio
async def test_a_group_that_keeps_failing_has_its_last_error() -> None:
    busy = refuse(429, "busy", retryable=True, headers={"retry-after": "3600"})
    first = stream(ranked(0, G0, REWARDS), failed(1, 503, "judge_down", retryable=True))
    got, _ = await rank_many(GROUPS[:2], first, busy)
    assert codes(got) == [None, "busy"]
    assert not got[1].mask


@pytest.mark.anyio
@pytest.mark.parametrize("breaks", [None, httpx.ReadError("reset")])
@pytest.mark.parametrize("cut", [0, 1, 40, -1])
async def test_groups_without_a_complete_line_are_sent_again(
    breaks: Exception | None, cut: int
) -> None:
    torn = ranked(2, G2, REWARDS)[:cut]
    first = stream(ranked(1, G1, REWARDS), torn, breaks=breaks)
    got, bodies = await rank_many(GROUPS, first, rank_all)
    assert [asked_for(body) for body in bodies] == [["g0", "g1", "g2"], ["g0", "g2"]]
    assert all(answer.mask for answer in got)


@pytest.mark.anyio
async def test_a_line_may_come_in_pieces_and_hold_u2028() -> None:
    text = "".join(chr(c) for c in (0x2028, 0x2029, 0x85, 0x1C))
    answer = ranking(G0, REWARDS)
    answer["results"][0]["explanation"] = text
    whole = line({"index": 0, "group_id": "g0", "status": "ranked", "ranking": answer})
    whole = b"\n" + whole + b"\n"
    pieces = [whole[i : i + 7] for i in range(0, len(whole), 7)]
    (got,), _ = await rank_many(GROUPS[:1], stream(*pieces))
    assert got.ranking is not None
    assert got.ranking.results[0].explanation == text


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        b"not json\n",
        b"[]\n",
        line({"index": 3, "status": "failed"}),
        line({"index": -1, "status": "failed"}),
        line({"index": True, "status": "failed"}),
        line({"index": 1, "status": "maybe"}),
    ],
)
async def test_a_line_about_an_unknown_group_masks_the_rest(bad: bytes) -> None:
    got, _ = await rank_many(GROUPS, stream(ranked(1, G1, REWARDS), bad, ranked(0, G0, REWARDS)))
    assert [answer.mask for answer in got] == [False, True, False]
    assert isinstance(got[0].error, ProtocolError)
    assert isinstance(got[2].error, ProtocolError)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        ranked(1, G1, {"a": float("nan"), "b": 0.5}),
        ranked(1, G1, {"a": 0.5}),
        ranked(1, G2, REWARDS),
        line({"index": 1, "group_id": "g1", "status": "ranked", "ranking": None}),
        line({"index": 1, "group_id": "g1", "status": "failed", "problem": {"code": "x"}}),
        line({"index": 1, "group_id": "g2", "status": "failed", "problem": PROBLEM}),
        ranked(1, G1, REWARDS) + ranked(1, G1, {"a": 0.0, "b": 1.0}),
    ],
)
async def test_a_bad_line_about_a_known_group_masks_that_group(bad: bytes) -> None:
    got, _ = await rank_many(GROUPS, stream(ranked(0, G0, REWARDS), bad, ranked(2, G2, REWARDS)))
    assert [answer.mask for answer in got] == [True, False, True]
    assert got[1].rewards is None
    assert isinstance(got[1].error, ProtocolError)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "branch"), [(401, Unauthorized), (413, RequestRefused), (422, RequestRefused)]
)
async def test_a_refusal_of_the_whole_request_is_raised(
    status: int, branch: type[RankError]
) -> None:
    with pytest.raises(branch):
        await rank_many(GROUPS, refuse(status, "refused", retryable=False))


@pytest.mark.anyio
async def test_a_group_too_large_for_any_request_fails_alone() -> None:
    got, _ = await rank_many(GROUPS[:1], refuse(413, "body_too_large", retryable=False))
    assert codes(got) == ["body_too_large"]


@pytest.mark.anyio
async def test_a_group_that_json_cannot_carry_fails_alone() -> None:
    nan = TrajectoryGroup([Trajectory("a", [], verified_reward=float("nan")), Trajectory("b", [])])
    surrogate, foreign = group("g\ud800"), group("g3", metadata={"x": object()})
    got, (body,) = await rank_many([nan, GROUPS[0], surrogate, foreign], rank_all)
    assert codes(got) == ["not_json", None, "not_json", "not_json"]
    assert asked_for(body) == ["g0"]
    with pytest.raises(RequestRefused, match="not JSON"):
        await rank(asked=nan)


@pytest.mark.anyio
async def test_progress_counts_every_group_once_and_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    first = stream(
        failed(2, 502, "verdict_invalid", retryable=False),
        failed(0, 503, "judge_down", retryable=True),
        ranked(1, G1, REWARDS),
        ranked(1, G1, REWARDS),  # off the contract, but no reason to count it twice
    )
    with scripted(first, rank_all) as script:
        async with client(script) as podium:
            await podium.rank_many(GROUPS, on_progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.anyio
async def test_an_error_of_the_progress_callback_is_raised() -> None:
    def stop(done: int, total: int) -> None:
        raise TimeoutError("enough")

    with scripted(rank_all) as script:
        async with client(script) as podium:
            with pytest.raises(TimeoutError, match="enough"):
                await podium.rank_many(GROUPS, on_progress=stop)


@pytest.mark.anyio
async def test_many_groups_are_split_and_come_back_in_order() -> None:
    groups = [group(f"g{i}") for i in range(MAX_BATCH_GROUPS + 2)]
    got, bodies = await rank_many(groups, rank_all, rank_all)
    assert sorted(len(body["groups"]) for body in bodies) == [2, MAX_BATCH_GROUPS]
    assert [a.ranking and a.ranking.group_id for a in got] == [g.group_id for g in groups]


def test_requests_stay_under_the_byte_cap() -> None:
    half, whole = b"x" * (MAX_BATCH_BYTES // 2 - 1), b"x" * (MAX_BATCH_BYTES + 1)
    texts = dict(enumerate([half, half, half, whole, half]))
    assert [list(chunk) for chunk in split_into_chunks(texts)] == [[0, 1], [2], [3], [4]]


@pytest.mark.anyio
@pytest.mark.usefixtures("one_attempt")
async def test_the_error_of_a_masked_group_holds_no_frames() -> None:
    down = fail(httpx.ReadError("reset"))
    (got,), _ = await rank_many(GROUPS[:1], down)
    assert got.error is not None
    assert (got.error.__traceback__, got.error.__cause__, got.error.__context__) == (None,) * 3


# Real connections


def lines_app(die_after: Callable[[int], int | None], seen: list[list[str]]) -> Any:
    """A batch endpoint that breaks its connection after so many lines of the n-th request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        groups = json.loads(body)["groups"]
        last = die_after(len(seen))
        seen.append([wire["group_id"] for wire in groups])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for index, wire in enumerate(groups[:last]):
            text = ranked(index, wire, REWARDS)
            await send({"type": "http.response.body", "body": text, "more_body": True})
        if last is not None:
            raise ConnectionError("the server dies here")
        await send({"type": "http.response.body", "body": b""})

    return app


@pytest.mark.anyio
async def test_a_broken_stream_is_resumed_for_missing_groups_only() -> None:
    seen: list[list[str]] = []
    groups = [group(f"g{i}") for i in range(5)]
    with serve(lines_app(lambda n: [2, 1, None][n], seen)) as url:
        async with AsyncRankClient(url, deadline_s=30) as podium:
            got = await podium.rank_many(groups)
    assert seen == [["g0", "g1", "g2", "g3", "g4"], ["g2", "g3", "g4"], ["g3", "g4"]]
    assert [answer.rewards for answer in got] == [[0.9, 0.1]] * 5


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
async def test_an_unreachable_service_masks_all_groups(
    free_url: str,
) -> None:
    seen: list[int] = []
    async with AsyncRankClient(free_url) as podium:
        got = await podium.rank_many(GROUPS, on_progress=lambda done, total: seen.append(done))
        with pytest.raises(ServiceUnavailable):
            await podium.rank(GROUPS[0])
    assert codes(got) == ["connection_failed"] * 3
    assert [answer.mask for answer in got] == [False] * 3
    assert seen == [1, 2, 3]


@pytest.fixture
def free_url() -> str:
    """A loopback URL where nothing listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


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


# Settings


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
    ],
)
def test_unusable_settings_are_refused_and_no_key_is_shown(
    url: str | None, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"URL|key|deadline") as caught:
        AsyncRankClient(url, **settings)
    assert KEY not in str(caught.value)


# Without an event loop


def test_many_threads_may_share_the_blocking_client() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return (rank_it if request.url.path == "/rank" else rank_all)(request)

    seen: list[int] = []
    transport = httpx.MockTransport(answer)
    with RankClient("http://podium.test", transport=transport, api_key=KEY) as podium:
        with ThreadPoolExecutor(8) as threads:
            got = list(threads.map(podium.rank, [group(f"g{i}") for i in range(32)]))
            many = threads.submit(
                podium.rank_many, GROUPS, on_progress=lambda done, total: seen.append(done)
            ).result()
        assert repr(podium) == "RankClient('http://podium.test')"
    assert [a.ranking and a.ranking.group_id for a in got] == [f"g{i}" for i in range(32)]
    assert [answer.rewards for answer in many] == [[0.9, 0.1]] * 3
    assert seen == [1, 2, 3]


def test_the_blocking_client_raises_the_same_errors_and_closes_twice() -> None:
    with scripted(refuse(502, "judge_refused", retryable=False)) as script:
        podium = RankClient("http://podium.test", transport=script.transport)
        with pytest.raises(JudgeFailed):
            podium.rank(group())
        podium.close()
        podium.close()


@pytest.mark.anyio
async def test_the_blocking_client_works_inside_a_running_event_loop() -> None:
    transport = httpx.MockTransport(rank_it)
    with RankClient("http://podium.test", transport=transport) as podium:
        assert podium.rank(group()).mask


def in_a_new_process(code: str) -> str:
    command = [sys.executable, "-c", f"from podium import RankClient; {code}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return run.stdout.strip()


def test_a_client_left_open_lets_the_program_end() -> None:
    assert in_a_new_process("client = RankClient(); print(client)") == (
        "RankClient('http://127.0.0.1:8000')"
    )


def test_the_client_imports_neither_torch_nor_the_service() -> None:
    heavy = ["torch", "numpy", "fastapi", "podium_service", "podium_trainer", "orjson", "openai"]
    assert in_a_new_process(f"import sys; print({{*{heavy}}} & {{*sys.modules}})") == "set()"
