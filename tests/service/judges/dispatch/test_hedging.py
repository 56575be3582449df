"""A late call is made a second time, elsewhere, and the first answer counts."""

import asyncio
from typing import Any

import pytest

from tests.fakes import (
    ScriptedJudge,
    by_length,
    fails,
    hangs,
    scores,
    until,
)
from tests.service.helpers import endpoint_judge
from tests.service.judges.builders import (
    AT_ONCE,
    GOOD,
    ask,
    open_judge,
)

pytestmark = pytest.mark.anyio


async def test_a_late_call_is_made_again_and_the_first_answer_counts() -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as slow,
        ScriptedJudge(always=GOOD).serving() as fast,
    ):
        urls = [slow.url, fast.url]
        judge = endpoint_judge("", base_urls=urls, hedge_after_s=0.05, timeout_s=20)
        for _ in range(4):  # whichever endpoint is home
            await ask(judge)
        await judge.aclose()
    assert fast.calls == 4


async def test_a_hedged_call_avoids_the_endpoint_where_the_first_hangs() -> None:
    async with (
        ScriptedJudge([hangs], always=GOOD).serving() as one,
        ScriptedJudge([fails(500), GOOD], always=GOOD).serving() as two,
    ):
        # The first call fails at `two` and hangs at `one`, so the second call goes to `two`.
        settings: dict[str, Any] = {"hedge_after_s": 1.5, "timeout_s": 20, "concurrency": AT_ONCE}
        judge = endpoint_judge("", base_urls=[two.url, one.url], **settings)
        judge.endpoints[1].num_active += 10  # so that the first call goes to `two`
        asked = asyncio.create_task(ask(judge))
        await until(lambda: two.calls == 1)
        judge.endpoints[1].num_active -= 10
        await asked
        await judge.aclose()
    assert (one.calls, two.calls) == (1, 2)


async def test_a_hedged_call_that_fails_waits_for_the_first_call() -> None:
    answers = [scores(by_length, delay_s=2.0), fails(500)]
    async with open_judge(*answers, hold=2, hedge_after_s=0.05, attempts=1) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2
