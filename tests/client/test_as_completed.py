"""Groups come back one by one, as soon as each is done."""

from contextlib import aclosing

import anyio
import httpx
import pytest

from podium.blocking_client import RankClient
from podium.client import AsyncRankClient
from podium.errors import NothingRanked, RequestRefused, Unauthorized
from tests.client.helpers import G0, G1, G2, GROUPS, REWARDS, client, lines_app, rank_all
from tests.fake_service import failed, ranked, refuse, scripted, serve, stream

FIRST = stream(
    ranked(2, G2, REWARDS),
    failed(0, 503, "judge_down", retryable=True),
    failed(1, 502, "judge_refused", retryable=False),
)


@pytest.mark.anyio
async def test_outcomes_come_in_the_order_in_which_they_end() -> None:
    with scripted(FIRST, stream(ranked(0, G0, REWARDS))) as script:
        async with client(script) as podium:
            got = [(i, answer.mask) async for i, answer in podium.rank_as_completed(GROUPS)]
    assert got == [(2, True), (1, False), (0, True)]


@pytest.mark.anyio
async def test_an_outcome_comes_before_the_others_are_done() -> None:
    goes_on = anyio.Event()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            yield ranked(1, G1, REWARDS)
            await goes_on.wait()
            yield ranked(0, G0, REWARDS) + ranked(2, G2, REWARDS)

    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Slow()))
    async with AsyncRankClient("http://x", transport=transport) as podium:
        outcomes = podium.rank_as_completed(GROUPS)
        with anyio.fail_after(10):
            index, _ = await anext(outcomes)
        goes_on.set()
        assert (index, [i async for i, _ in outcomes]) == (1, [0, 2])


@pytest.mark.anyio
async def test_a_refused_request_is_raised_while_iterating() -> None:
    with scripted(refuse(422, "invalid_request", retryable=False)) as script:
        async with client(script) as podium:
            with pytest.raises(RequestRefused):
                [_ async for _ in podium.rank_as_completed(GROUPS)]


@pytest.mark.anyio
async def test_a_batch_read_one_by_one_can_be_a_dry_one() -> None:
    lost = stream(*(failed(i, 502, "c", retryable=False) for i in range(3)))
    with scripted(lost) as script:
        async with client(script, max_dry=1) as podium:
            outcomes = podium.rank_as_completed(GROUPS)
            assert [(await anext(outcomes))[0] for _ in GROUPS] == [0, 1, 2]
            with pytest.raises(NothingRanked):
                await anext(outcomes)


@pytest.mark.anyio
async def test_a_reader_that_stops_ends_the_request() -> None:
    ended = anyio.Event()

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            yield ranked(1, G1, REWARDS)
            await anyio.sleep_forever()

        async def aclose(self) -> None:
            ended.set()

    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Endless()))
    async with AsyncRankClient("http://x", transport=transport) as podium:
        async with aclosing(podium.rank_as_completed(GROUPS)) as outcomes:
            await anext(outcomes)
        with anyio.fail_after(5):
            await ended.wait()


def test_the_blocking_client_yields_outcomes_too() -> None:
    with serve(lines_app(lambda n: None, [])) as url, RankClient(url, deadline_s=20) as podium:
        got = dict(podium.rank_as_completed(GROUPS))
        first, _ = next(podium.rank_as_completed(GROUPS))
    assert [got[i].rewards for i in range(3)] == [[0.9, 0.1]] * 3
    assert first == 0


def test_the_blocking_client_raises_after_the_outcomes() -> None:
    with (
        scripted(rank_all, refuse(401, "unauthorized", retryable=False)) as script,
        RankClient("http://podium.test", transport=script.transport) as podium,
    ):
        assert len(list(podium.rank_as_completed(GROUPS))) == 3
        with pytest.raises(Unauthorized):
            list(podium.rank_as_completed(GROUPS))
