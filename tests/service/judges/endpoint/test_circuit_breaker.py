"""An endpoint that keeps failing is not called for a while, and one call tries it then."""

import asyncio

import pytest

from podium_service.errors import (
    JudgeUnavailable,
)
from podium_service.judges.endpoint.circuit_breaker import FAILURES, LAST_REST_S, CircuitBreaker
from tests.fakes import (
    drops,
    hangs,
    later,
    until,
)
from tests.service.judges.builders import (
    AT_ONCE,
    GOOD,
    ask,
    open_judge,
)

pytestmark = pytest.mark.anyio


def open_breaker() -> CircuitBreaker:
    breaker = CircuitBreaker()
    opens = [breaker.record_failure(0.0, 10.0) for _ in range(FAILURES)]
    assert opens == [False] * (FAILURES - 1) + [True]
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_for_a_second() -> None:
    assert open_breaker().wait_s(10.2) == pytest.approx(0.8)
    breaker = CircuitBreaker()
    for _ in range(FAILURES - 1):
        breaker.record_failure(0.0, 1.0)
    breaker.record_success()
    assert not breaker.record_failure(0.0, 1.0)  # because they are not in a row


def test_a_failed_trial_opens_the_breaker_for_twice_as_long() -> None:
    breaker = open_breaker()
    assert breaker.wait_s(11.0) == 0
    breaker.record_start(11.0)
    assert breaker.wait_s(11.0) == 1.0  # other calls wait for the trial's end
    assert breaker.wait_s(14.5) == 3.5  # a trial that is late is expected to be later still
    assert not breaker.record_failure(10.5, 11.1)  # it started before the trial
    assert breaker.record_failure(11.0, 12.0)
    assert breaker.wait_s(12.0) == pytest.approx(2.0)
    breaker.record_start(14.0)
    breaker.record_success()
    assert breaker.wait_s(14.1) == 0
    assert not breaker.is_open


def test_the_rest_of_an_open_breaker_is_bounded() -> None:
    breaker, now = open_breaker(), 10.0
    for _ in range(12):
        now += breaker.wait_s(now)
        breaker.record_start(now)
        breaker.record_failure(now, now)
    assert breaker.wait_s(now) == LAST_REST_S


def test_a_trial_without_an_outcome_is_followed_by_another() -> None:
    breaker = open_breaker()
    breaker.record_start(11.0)
    breaker.record_end(10.0)  # an older call than the trial
    assert breaker.wait_s(11.5) > 0
    breaker.record_end(11.0)
    assert breaker.wait_s(11.5) == 0


async def test_a_failing_endpoint_is_not_called_and_comes_back_later() -> None:
    down = [drops] * (FAILURES + 1)
    async with open_judge(*down, always=GOOD, attempts=1) as (judge, scripted):
        for _ in range(FAILURES):
            with pytest.raises(JudgeUnavailable):
                await ask(judge)
        with pytest.raises(JudgeUnavailable):  # it waits for the rest to end, and is the trial
            await ask(judge)
        assert scripted.calls == FAILURES + 1
        await ask(judge)  # two seconds later the endpoint answers
    assert scripted.calls == FAILURES + 2


async def test_calls_that_are_given_up_late_open_the_breaker() -> None:
    async with open_judge(always=hangs, timeout_s=0.4) as (judge, scripted):
        for number in range(FAILURES):
            assert not judge.endpoints[0].breaker.is_open
            call = asyncio.create_task(ask(judge))
            await until(lambda asked=number + 1: scripted.calls == asked)
            await asyncio.sleep(0.25)  # more than half of the timeout
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert judge.endpoints[0].breaker.is_open


async def test_late_calls_beside_answered_ones_are_no_failures() -> None:
    script = [later(GOOD, 0.9)] + [hangs] * FAILURES
    async with open_judge(*script, timeout_s=1.6, concurrency=AT_ONCE) as (judge, scripted):
        answered = asyncio.create_task(ask(judge))
        await until(lambda: scripted.calls == 1)
        late = [asyncio.create_task(ask(judge)) for _ in range(FAILURES)]
        await answered  # more than half of the timeout later
        for call in late:
            call.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        assert not judge.endpoints[0].breaker.is_failing


async def test_calls_that_are_given_up_early_do_not_open_the_breaker() -> None:
    async with open_judge(always=hangs) as (judge, scripted):
        for number in range(FAILURES):
            call = asyncio.create_task(ask(judge))
            await until(lambda asked=number + 1: scripted.calls == asked)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert not judge.endpoints[0].breaker.is_open


async def test_calls_do_not_wait_for_the_end_of_a_trial_that_hangs() -> None:
    script = [drops] * FAILURES
    async with open_judge(*script, always=hangs, attempts=1) as (judge, scripted):
        for _ in range(FAILURES):
            with pytest.raises(JudgeUnavailable):
                await ask(judge)
        trial = asyncio.create_task(ask(judge))
        await until(lambda: scripted.calls == FAILURES + 1)
        with pytest.raises(JudgeUnavailable, match="left alone"):
            await asyncio.wait_for(ask(judge), 20)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
