"""Servers over TCP get as many calls at once as they can take, with default settings."""

import asyncio
from collections import Counter

import pytest

from podium_service.errors import Overloaded
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.llm_judge import EndpointJudge
from tests.fakes import fails, later, until
from tests.service.judges.builders import GOOD, ask, open_judge
from tests.service.judges.idle_clock import IDLE_CLOCK, Backend

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Backend:
    return IDLE_CLOCK


async def ask_many(judge: EndpointJudge, number: int) -> None:
    await asyncio.gather(*(ask(judge) for _ in range(number)))


async def test_a_server_of_one_slot_is_asked_by_ones_and_twos() -> None:
    async with open_judge(always=later(GOOD, 0.3), slots=1) as (judge, server):
        calls = [asyncio.create_task(ask(judge)) for _ in range(64)]
        await until(lambda: server.calls >= 24)
        assert server.calls < 64  # the others wait for their turn here
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    assert server.max_in_flight == 4  # of the first round
    assert max(server.seen_in_flight[8:]) <= 2


async def test_a_server_of_some_slots_is_kept_busy() -> None:
    async with open_judge(always=later(GOOD, 0.2), slots=8) as (judge, server):
        started = asyncio.get_running_loop().time()
        await ask_many(judge, 200)
        seconds = asyncio.get_running_loop().time() - started
        assert judge.endpoints[0].concurrency.limit <= 24
    assert server.calls == 200
    assert seconds > 200 * 0.2 / 8  # no faster than it can
    assert max(server.seen_in_flight) <= 64


async def test_a_server_without_limits_is_asked_at_once() -> None:
    async with open_judge(always=later(GOOD, 0.5)) as (judge, server):
        await ask_many(judge, 80)
    assert server.seen_in_flight[:4] == [1, 2, 3, 4]
    assert server.max_in_flight >= 40  # the third round has room for 64


async def test_a_server_that_refuses_is_asked_for_less() -> None:
    good, refused = later(GOOD, 0.1), fails(429, "too many")
    async with open_judge(attempts=20) as (judge, server):
        server.always = lambda asked: (good if server.in_flight < 6 else refused)(asked)
        await ask_many(judge, 60)
        assert judge.endpoints[0].concurrency.limit < 16
    num_refused = server.calls - 60
    assert 0 < num_refused < 30


async def test_groups_that_would_be_late_are_refused() -> None:
    async with open_judge(always=later(GOOD, 0.2), slots=1) as (judge, server):
        await ask_many(judge, 8)  # by now it is known
        now = asyncio.get_running_loop().time()
        first = RequestContext(ends_at=now + 20)
        await judge.admit(first, 4)
        calls = [asyncio.create_task(ask(judge, first)) for _ in range(4)]
        await until(lambda: server.calls >= 9)
        await judge.admit(RequestContext(ends_at=now + 20), 4)
        with pytest.raises(Overloaded, match="do not fit") as refused:
            await judge.admit(RequestContext(ends_at=now + 0.4), 4)
        assert 1 <= (refused.value.retry_after_s or 0) < 5
        await asyncio.gather(*calls)
    assert server.calls == 12


async def test_calls_of_a_closed_loop_do_not_stay_in_step() -> None:
    call_s, ends_at = 0.25, list[float]()
    concurrency = {"min": 1, "max": 16}
    async with open_judge(always=later(GOOD, call_s), concurrency=concurrency) as (judge, _):
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def ask_again() -> None:
            while loop.time() < began + 8 * call_s:
                await ask(judge)
                ends_at.append(loop.time())

        await asyncio.gather(*(ask_again() for _ in range(16)))
    fifths = Counter(int(at % call_s * 5 / call_s) for at in ends_at if at > began + 3 * call_s)
    assert len(fifths) == 5
    assert max(fifths.values()) < 0.5 * fifths.total()
