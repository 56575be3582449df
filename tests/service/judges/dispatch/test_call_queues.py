"""A call takes from the rate only once it has a place, and goes to no paused endpoint."""

import asyncio
from typing import Any

import pytest

from podium_service.errors import (
    JudgeRateLimited,
)
from tests.fakes import (
    fails,
    later,
    until,
)
from tests.service.judges.builders import (
    GOOD,
    FakeQuotas,
    ask,
    open_judge,
)

pytestmark = pytest.mark.anyio


async def test_a_call_without_a_place_takes_nothing_from_the_rate() -> None:
    quotas = FakeQuotas()
    slow = later(GOOD, 0.3)
    settings: dict[str, Any] = {"requests_per_minute": 60, "concurrency": 1}
    async with open_judge(slow, always=GOOD, quotas=quotas, **settings) as (judge, scripted):
        queue = judge.queues.endpoint_queue
        calls = [asyncio.create_task(ask(judge)) for _ in range(3)]
        await until(lambda: queue.num_waiting == 2 and scripted.calls == 1)
        assert quotas.num_takes == 1  # else all would be sent at once after a stall
        await asyncio.gather(*calls)
    assert (quotas.num_takes, quotas.given_back) == (3, [])


async def test_an_endpoint_paused_while_a_call_waits_is_not_called() -> None:
    quotas = FakeQuotas(waits_s=[0.0, 0.3])
    settings: dict[str, Any] = {"requests_per_minute": 60, "concurrency": 2, "attempts": 1}
    limited = fails(429, "slow down", Retry_After="1")
    async with open_judge(limited, always=GOOD, quotas=quotas, **settings) as (judge, scripted):
        first, second = asyncio.create_task(ask(judge)), asyncio.create_task(ask(judge))
        with pytest.raises(JudgeRateLimited):
            await first
        started = asyncio.get_running_loop().time()
        await second
        assert asyncio.get_running_loop().time() - started > 0.9
    assert (scripted.calls, quotas.given_back) == (2, [1.0])
