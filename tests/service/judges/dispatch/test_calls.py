"""A call that fails at an endpoint is made again where that helps, and for so long only."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from podium_service.errors import (
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.dispatch.calls import MAX_SILENCE_S
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.circuit_breaker import FAILURES
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    drops,
    fails,
    hangs,
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


async def test_a_call_that_fails_at_an_endpoint_is_made_again() -> None:
    async with open_judge(fails(500), drops, GOOD, attempts=3) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 3


async def test_the_number_of_attempts_is_bounded() -> None:
    async with open_judge(fails(503), fails(502, "bad gateway")) as (judge, _):
        with pytest.raises(JudgeUnavailable, match="502: bad gateway"):
            await ask(judge)


async def test_an_endpoint_that_is_left_alone_says_why() -> None:
    async with open_judge(fails(503, "loading model"), attempts=1) as (judge, _):
        with pytest.raises(JudgeUnavailable):
            await ask(judge)
        breaker, now = judge.endpoints[0].breaker, asyncio.get_running_loop().time()
        for _ in range(FAILURES):
            breaker.record_failure(now, now)
        for _ in range(3):
            breaker.record_start(now)
            breaker.record_failure(now, now)
        words = (
            "keeps failing and is left alone for .* the last failure: answered 503: loading model"
        )
        with pytest.raises(JudgeUnavailable, match=words):
            await ask(judge)


async def test_an_attempt_that_hangs_ends_at_its_timeout() -> None:
    async with open_judge(hangs, GOOD, timeout_s=4) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


async def test_a_timeout_is_told_with_its_seconds_and_the_load() -> None:
    async with open_judge(hangs, hangs, timeout_s=0.3, attempts=1) as (judge, scripted):
        other = asyncio.create_task(ask(judge))
        await until(lambda: scripted.calls == 1)
        with capture_logs() as logged, pytest.raises(JudgeUnavailable) as caught:
            await ask(judge)
        await asyncio.gather(other, return_exceptions=True)
    url = scripted.url
    assert str(caught.value).startswith(f"{url} gave no answer in 0.3 s (")
    assert " in flight, limit " in str(caught.value)
    [line] = [line for line in logged if line.get("in_flight") == 1]  # the later one
    assert 0.25 < line.pop("after_s") < 10
    assert line.pop("limit") >= 1
    assert line == {
        "event": "judge_attempt_failed", "log_level": "warning", "judge": "main", "base_url": url,
        "code": "judge_unavailable", "reason": "timeout", "in_flight": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "facts"),
    [
        (fails(503, "secret words"), {"reason": "status", "status": 503}),
        (fails(429, "secret words"), {"reason": "status", "status": 429}),
        (lambda asked: Answer("secret words"), {"reason": "reply", "status": 200}),
        (drops, {"reason": "connection"}),
    ],
    ids=["503", "429", "no completion", "no connection"],
)
async def test_the_log_says_how_a_call_failed_without_words_of_it(
    step: Step, facts: dict[str, Any]
) -> None:
    async with open_judge(step, attempts=1) as (judge, _):
        with capture_logs() as logged, pytest.raises(JudgeError):
            await ask(judge)
    [line] = logged
    assert {name: line.get(name) for name in facts} == facts
    assert {"after_s", "in_flight", "limit"} <= line.keys()
    assert "secret" not in str(line)


async def test_a_cancelled_call_is_logged_with_its_seconds() -> None:
    async with open_judge(hangs) as (judge, scripted):
        call = asyncio.create_task(ask(judge))
        await until(lambda: scripted.calls == 1)
        with capture_logs() as logged:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
    assert [line["event"] for line in logged] == ["judge_call_cancelled"]
    assert {"after_s", "in_flight", "limit", "base_url"} <= logged[0].keys()


async def test_an_untried_base_url_gets_its_share_of_the_time_left() -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as hung,
        ScriptedJudge(always=GOOD).serving() as alive,
    ):
        judge = endpoint_judge("", base_urls=[hung.url, alive.url], concurrency=AT_ONCE)
        judge.endpoints[1].num_active += 10  # so that the call goes to the other first
        now = asyncio.get_running_loop().time
        started = now()
        await ask(judge, RequestContext(ends_at=started + 2))
        assert now() - started > 0.9
        assert (hung.calls, alive.calls) == (1, 1)
        await judge.aclose()


async def test_a_hung_endpoint_does_not_end_a_call_before_its_deadline() -> None:
    assert MAX_SILENCE_S == 600
    async with open_judge(hangs) as (judge, scripted):
        loop = asyncio.get_running_loop()
        call = asyncio.create_task(ask(judge, RequestContext(ends_at=loop.time() + 0.2)))
        await until(lambda: scripted.calls == 1)
        await asyncio.sleep(0.6)  # callers with later deadlines may share it
        assert not call.done()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_an_answer_that_is_no_chat_completion_is_a_failed_call() -> None:
    def html(asked: Asked) -> Answer:
        return Answer("<html>gateway</html>")

    async with open_judge(html, GOOD) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


async def test_all_callers_of_an_endpoint_wait_for_its_retry_after() -> None:
    clock = asyncio.get_running_loop().time
    called_at: list[float] = []

    def note_time(asked: Asked) -> Answer:
        called_at.append(clock())
        return GOOD(asked)

    async with open_judge(fails(429, retry_after="1"), always=note_time) as (judge, _):
        started = clock()
        limited = asyncio.create_task(ask(judge))
        await until(lambda: judge.endpoints[0].paused_until > 0)
        await asyncio.gather(limited, ask(judge))
    assert len(called_at) == 2
    assert all(moment - started >= 1 for moment in called_at)


async def test_a_retry_after_beyond_the_timeout_is_told_to_the_caller() -> None:
    async with open_judge(fails(429, retry_after="600"), timeout_s=5) as (judge, scripted):
        with pytest.raises(JudgeRateLimited) as caught:
            await ask(judge)
    assert scripted.calls == 1
    assert caught.value.retry_after_s == pytest.approx(600, abs=5)


async def test_the_retry_after_of_a_503_is_told_to_the_caller() -> None:
    async with open_judge(fails(503, retry_after="7"), attempts=1) as (judge, _):
        with pytest.raises(JudgeUnavailable) as caught:
            await ask(judge)
    assert caught.value.retry_after == 7


async def test_a_429_that_means_no_credit_is_not_retried() -> None:
    step = fails(429, "You exceeded your current quota", code="insufficient_quota")
    async with open_judge(step) as (judge, scripted):
        with pytest.raises(JudgeQuotaExhausted):
            await ask(judge)
    assert scripted.calls == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refused_key_or_model_is_not_retried(status: int) -> None:
    async with open_judge(fails(status, "no such model")) as (judge, scripted):
        with pytest.raises(JudgeRejected, match=f"{status}: no such model"):
            await ask(judge)
    assert scripted.calls == 1


async def test_calls_to_a_dead_base_url_go_to_the_other() -> None:
    async with ScriptedJudge(always=GOOD).serving() as alive:
        judge = endpoint_judge("http://127.0.0.1:9/v1", attempts=2)
        config = judge.config.model_copy(update={"base_urls": [*judge.config.base_urls, alive.url]})
        await judge.aclose()
        judge = EndpointJudge("main", config, Metrics())
        await asyncio.gather(*(ask(judge) for _ in range(5)))
        await judge.aclose()
    assert alive.calls == 5


async def test_an_endpoint_without_credit_is_not_called_for_a_while() -> None:
    step = fails(429, "You exceeded your current quota", code="insufficient_quota")
    async with open_judge(always=step) as (judge, scripted):
        for _ in range(3):
            with pytest.raises(JudgeQuotaExhausted, match="exceeded your current quota"):
                await ask(judge)
    assert scripted.calls == 1


async def test_calls_to_a_base_url_without_credit_go_to_the_other() -> None:
    no_credit = fails(429, "no", code="insufficient_quota")
    async with (
        ScriptedJudge(always=GOOD).serving() as other,
        ScriptedJudge(always=no_credit).serving() as first,
    ):
        judge = endpoint_judge(first.url, base_urls=[first.url, other.url])
        await asyncio.gather(*(ask(judge) for _ in range(12)))
        num_tried = first.calls
        await ask(judge)
        await judge.aclose()
    assert first.calls == num_tried > 0
    assert other.calls == 13
