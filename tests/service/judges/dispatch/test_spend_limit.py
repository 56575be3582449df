"""Calls reserve their worst case and settle what they cost; no limit is exceeded."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from podium_service.errors import (
    JudgeSpendLimit,
    JudgeUnavailable,
    KeySpendLimit,
    Overloaded,
)
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.circuit_breaker import FAILURES
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.store.quotas.spend import SpendLimit
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    Step,
    by_length,
    drops,
    fails,
    hangs,
    scores,
    until,
)
from tests.service.helpers import llm
from tests.service.judges.builders import (
    GOOD,
    LIMITED,
    PRICE,
    FakeQuotas,
    ask,
    open_judge,
)

pytestmark = pytest.mark.anyio

COST_USD = (100 * 1.0 + 10 * 10.0) / 1e6  # the cost of the tokens that the scripted judge counts


async def test_the_worst_case_is_reserved_and_settled_by_the_cost() -> None:
    quotas = FakeQuotas()
    spend = {"usd": 0.02}
    async with open_judge(GOOD, quotas=quotas, price=PRICE, spend=spend) as (judge, _):
        await ask(judge)
    assert quotas.settled == pytest.approx(COST_USD)
    assert quotas.reserved == pytest.approx(0)
    assert quotas.most > 500 * 10 / 1e6  # all tokens of the cap


async def test_a_call_that_does_not_fit_the_limit_is_not_made() -> None:
    spend = {"usd": 0.001, "per": "month"}
    async with open_judge(quotas=FakeQuotas(), price=PRICE, spend=spend) as (judge, scripted):
        with pytest.raises(JudgeSpendLimit, match=r"not fit what is left of \$0.001 per month"):
            await ask(judge)
    assert scripted.calls == 0


async def test_a_call_waits_for_money_that_other_calls_reserve() -> None:
    quotas = FakeQuotas()
    spend = {"usd": 0.0075}  # one worst case at a time: 500 tokens and some bytes
    late = scores(by_length, delay_s=0.05)
    settings: dict[str, Any] = {"price": PRICE, "spend": spend}
    async with open_judge(always=late, quotas=quotas, **settings) as (judge, scripted):
        await asyncio.gather(*(ask(judge) for _ in range(3)))
    assert (scripted.calls, scripted.max_in_flight) == (3, 1)
    assert quotas.settled == pytest.approx(3 * COST_USD)
    assert quotas.most <= 0.0075


async def test_a_call_that_waits_for_money_holds_no_place_and_no_trial() -> None:
    quotas, other = FakeQuotas(), RequestContext(api_key_id="b")
    quotas.reserved = 0.02  # by a process that was killed
    settings: dict[str, Any] = {"price": PRICE, "concurrency": 1, "queue": 1}
    async with open_judge(always=GOOD, quotas=quotas, **settings) as (judge, scripted):
        [endpoint] = judge.endpoints
        for _ in range(FAILURES):
            endpoint.breaker.record_failure(0.0, 0.0)  # it is half open by now
        waiting = asyncio.create_task(ask(judge, LIMITED))
        await until(lambda: quotas.num_reads >= 2)  # one while it has a place, one after
        assert (endpoint.num_active, endpoint.breaker.is_open) == (0, True)
        with pytest.raises(Overloaded, match="1 judge calls wait"):
            await judge.admit(LIMITED, 1)
        await judge.admit(other, 1)
        await ask(judge, other)
        assert (scripted.calls, endpoint.breaker.is_open) == (1, False)
        quotas.reserved = 0.0
        await waiting
        await judge.admit(LIMITED, 1)
    assert scripted.calls == 2


async def test_a_call_waits_for_money_as_long_as_for_an_answer_at_most() -> None:
    quotas = FakeQuotas()
    quotas.reserved = 0.02
    settings: dict[str, Any] = {"price": PRICE, "requests_per_minute": 60, "timeout_s": 0.1}
    async with open_judge(quotas=quotas, **settings) as (judge, scripted):
        with pytest.raises(Overloaded, match=r"reserve what a call .* needs of \$0.02 per day"):
            await ask(judge, LIMITED)
        assert judge.endpoints[0].num_active == 0
    assert (scripted.calls, quotas.given_back, quotas.reserved) == (0, [1.0], 0.02)


@pytest.mark.parametrize("count", [2**64 - 1, 10**12, 1e300])
async def test_an_absurd_token_count_costs_no_more_than_the_worst_case(count: float) -> None:
    def absurd(asked: Asked) -> Answer:
        answer = GOOD(asked)
        assert isinstance(answer.body, dict)
        usage = {"prompt_tokens": 10**8, "completion_tokens": count}
        return replace(answer, body={**answer.body, "usage": usage})

    quotas = FakeQuotas()
    async with open_judge(absurd, quotas=quotas, price=PRICE, spend={"usd": 0.02}) as (judge, _):
        await ask(judge)
    assert quotas.settled == pytest.approx(quotas.most)
    assert quotas.reserved == pytest.approx(0)


async def test_a_call_cancelled_while_it_waits_for_money_waits_no_more() -> None:
    quotas = FakeQuotas()
    quotas.reserved = 0.02
    async with open_judge(always=GOOD, quotas=quotas, price=PRICE, queue=1) as (judge, scripted):
        waiting = asyncio.create_task(ask(judge, LIMITED))
        await until(lambda: quotas.num_reads >= 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await judge.admit(LIMITED, 1)
    assert (scripted.calls, quotas.reserved, quotas.settled) == (0, 0.02, 0.0)


async def test_the_api_key_of_the_caller_has_a_limit_of_its_own() -> None:
    async with open_judge(quotas=FakeQuotas(), price=PRICE) as (judge, scripted):
        with pytest.raises(KeySpendLimit, match="this API key"):
            await ask(judge, RequestContext(api_key_id="k1", spend_limit=SpendLimit(usd=0.001)))
    assert scripted.calls == 0


@pytest.mark.parametrize(
    ("failure", "paid"),
    [
        (fails(500), False),
        (drops, True),
        (hangs, True),
        (lambda asked: Answer({"choices": []}), True),
        (lambda asked: Answer('{"choices": [{"mess'), True),
        *((fails(status), True) for status in (408, 504, 524)),
    ],
)
async def test_an_answered_failure_is_free_but_an_unanswered_one_costs(
    failure: Step, paid: bool
) -> None:
    quotas = FakeQuotas()
    settings: dict[str, Any] = {"price": PRICE, "spend": {"usd": 1.0}, "attempts": 1}
    settings["timeout_s"] = 0.3 if failure is hangs else 20
    async with open_judge(failure, quotas=quotas, **settings) as (judge, _):
        with pytest.raises(JudgeUnavailable):
            await ask(judge)
    assert (quotas.settled > 500 * 10 / 1e6) is paid
    assert quotas.reserved == pytest.approx(0)


async def test_a_refused_connection_costs_nothing() -> None:
    quotas = FakeQuotas()
    settings = {"price": PRICE, "spend": {"usd": 1.0}, "attempts": 1}
    config = LLMJudge.model_validate(llm("http://127.0.0.1:9/v1", **settings))
    judge = EndpointJudge("main", config, Metrics(), quotas)
    with pytest.raises(JudgeUnavailable):
        await ask(judge)
    await judge.aclose()
    assert quotas.settled == 0
