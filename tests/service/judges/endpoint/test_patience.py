"""An answer is waited for while the endpoint answers other calls, or for so many seconds."""

import asyncio

import pytest

from podium_service.errors import JudgeUnavailable
from podium_service.judges.endpoint.patience import Patience
from tests.fakes import hangs, later
from tests.service.judges.builders import GOOD, make_prompt, open_judge

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "messages": make_prompt().chat()}


async def test_the_last_call_of_a_server_of_one_slot_is_waited_for() -> None:
    async with open_judge(always=later(GOOD, 0.5), slots=1) as (judge, _):
        [endpoint] = judge.endpoints
        patience = Patience(1.2, is_renewed=True)
        calls = [endpoint.complete(BODY, patience) for _ in range(4)]  # the last one takes 2 s
        assert len(await asyncio.gather(*calls)) == 4


async def test_a_call_that_takes_longer_than_set_is_given_up() -> None:
    async with open_judge(always=later(GOOD, 0.5), slots=1) as (judge, _):
        [endpoint] = judge.endpoints
        calls = [endpoint.complete(BODY, Patience(1.2)) for _ in range(4)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(ends[3], JudgeUnavailable)


async def test_an_endpoint_that_answers_nobody_is_given_up() -> None:
    async with open_judge(later(GOOD, 0.3), always=hangs) as (judge, _):
        [endpoint] = judge.endpoints
        now = asyncio.get_running_loop().time
        started = now()
        calls = [endpoint.complete(BODY, Patience(0.5, is_renewed=True)) for _ in range(2)]
        _, hung = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(hung, JudgeUnavailable)
        assert 0.75 < now() - started < 10  # half a second after the other was answered
