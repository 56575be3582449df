"""Calls keep to requests and tokens a minute, one API key after the other."""

import asyncio
from typing import Any

import pytest

from podium_service.errors import (
    JudgeRateLimited,
)
from podium_service.judges.dispatch.rate_limit import RateLimiter
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.settings import LLMJudge
from tests.fakes import (
    until,
)
from tests.service.helpers import llm
from tests.service.judges.builders import (
    GOOD,
    FakeQuotas,
    ask,
    make_prompt,
    open_judge,
)

pytestmark = pytest.mark.anyio


async def test_a_call_waits_for_its_rate_and_gives_back_unused_tokens() -> None:
    quotas = FakeQuotas(waits_s=[0.05, 0.05])  # for requests, for tokens
    rates: dict[str, Any] = {"requests_per_minute": 60, "tokens_per_minute": 6000}
    async with open_judge(GOOD, quotas=quotas, **rates) as (judge, _):
        request_context = RequestContext()
        await ask(judge, request_context)
    assert 0.1 <= request_context.timing.queue_s < 10
    assert len(quotas.given_back) == 1
    assert quotas.given_back[0] > 500 - 110  # the cap was 500 tokens, 110 were counted


def make_limiter(quotas: FakeQuotas, **rates: float) -> RateLimiter:
    config = LLMJudge.model_validate(llm("http://127.0.0.1:9/v1", **rates))
    return RateLimiter("main", config, quotas, lambda: None)


async def test_api_keys_take_turns_at_the_rate_limit() -> None:
    quotas = FakeQuotas(waits_s=[1.0] + [0.0] * 5)
    limiter, served = make_limiter(quotas, requests_per_minute=60), list[str]()

    async def call(key: str) -> None:
        async with limiter.acquire(make_prompt(), 500, RequestContext(key)) as permit:
            served.append(key)
            permit.sent = True

    calls = [asyncio.create_task(call("a")) for _ in range(4)]
    await until(lambda: limiter.num_waiting == 4)
    calls += [asyncio.create_task(call("b")) for _ in range(2)]
    await asyncio.gather(*calls)
    assert "".join(served) == "aababa"
    assert limiter.num_waiting == 0


async def test_a_call_that_is_not_made_gives_back_what_it_took() -> None:
    quotas = FakeQuotas(waits_s=[60.0])
    limiter = make_limiter(quotas, requests_per_minute=60, tokens_per_minute=6000)
    permit = limiter.acquire(make_prompt(), 500, RequestContext("a"))
    waiting = asyncio.create_task(permit.__aenter__())
    await until(lambda: limiter.num_waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert quotas.given_back == [1.0]
    async with limiter.acquire(make_prompt(), 500, RequestContext("b")):
        pass  # nothing was sent
    assert len(quotas.given_back) == 3


async def test_a_turn_that_comes_after_the_deadline_is_not_waited_for() -> None:
    quotas = FakeQuotas(waits_s=[60.0])
    limiter = make_limiter(quotas, requests_per_minute=60)
    request_context = RequestContext("a", ends_at=asyncio.get_running_loop().time() + 30)
    with pytest.raises(JudgeRateLimited, match=r"turn comes in 60\.0 s"):
        await limiter.acquire(make_prompt(), 500, request_context).__aenter__()
    assert (quotas.given_back, limiter.num_waiting) == ([1.0], 0)
