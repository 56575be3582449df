"""Calls get places at endpoints fairly between API keys, near their prefix, and leak none."""

import asyncio

import pytest

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    KeySpendLimit,
)
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.store.quotas.spend import SpendLimit
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    ScriptedJudge,
    by_length,
    fails,
    later,
    scores,
    until,
)
from tests.service.helpers import endpoint_judge
from tests.service.judges.builders import (
    AT_ONCE,
    GOOD,
    PRICE,
    FakeQuotas,
    ask,
    dialect_at,
    hold_place,
    open_endpoints,
    open_judge,
    open_queue,
)

pytestmark = pytest.mark.anyio


async def test_api_keys_take_turns_however_many_calls_each_has() -> None:
    async with open_endpoints(1, limit=1) as each:
        queue, served, done = open_queue(*each), list[str](), asyncio.Event()
        calls = [asyncio.create_task(hold_place(queue, "a", served, done)) for _ in range(6)]
        await until(lambda: queue.num_waiting == 5)
        calls += [asyncio.create_task(hold_place(queue, "b", served, done)) for _ in range(2)]
        await until(lambda: queue.num_waiting == 7)
        done.set()
        await asyncio.gather(*calls)
    assert "".join(served) == "aababaaa"
    assert queue.num_waiting == 0


class PausedUntilJustNow(Endpoint):
    """An endpoint whose pause ends after the wait has been read so many times."""

    def __init__(self, num_reads: int) -> None:
        super().__init__("http://judge", dialect_at("http://judge"), concurrency=(1, 1))
        self._waits = iter([0.001] * num_reads)

    def wait_s(self) -> float:
        return next(self._waits, 0.0)


@pytest.mark.parametrize("num_reads", [1, 2, 3, 4])
async def test_a_pause_that_ends_just_now_does_not_block_the_queue(num_reads: int) -> None:
    endpoint = PausedUntilJustNow(num_reads)
    async with asyncio.timeout(5), open_queue(endpoint).hold_place(RequestContext("a"), b""):
        assert endpoint.num_active == 1
    await endpoint.aclose()


async def test_calls_that_were_not_made_do_not_count_in_the_hold_time() -> None:
    poor = RequestContext("poor", spend_limit=SpendLimit(usd=1e-6))
    async with open_judge(always=later(GOOD, 0.2), quotas=FakeQuotas(), price=PRICE) as (judge, _):
        await ask(judge)
        hold_s = judge.queues.endpoint_queue.hold_s
        for _ in range(9):
            with pytest.raises(KeySpendLimit):
                await ask(judge, poor)
        assert judge.queues.endpoint_queue.hold_s == hold_s >= 0.2
        assert judge.endpoints[0].num_active == 0


async def test_a_pause_that_ends_after_the_deadline_is_not_waited_for() -> None:
    limited = fails(429, "slow down", Retry_After="50")
    async with open_judge(always=limited, attempts=1) as (judge, _):
        with pytest.raises(JudgeRateLimited):
            await ask(judge)  # the endpoint is paused from now on
        loop = asyncio.get_running_loop()
        with pytest.raises(JudgeRateLimited, match="asks to wait") as refused:
            await ask(judge, RequestContext(ends_at=loop.time() + 30))
        assert (refused.value.retry_after_s or 0) > 30
        waiting = asyncio.create_task(ask(judge, RequestContext(ends_at=loop.time() + 300)))
        await until(lambda: judge.queues.endpoint_queue.num_waiting == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_call_cancelled_in_the_queue_takes_no_place() -> None:
    async with open_endpoints(1, limit=1) as each:
        queue, served, done = open_queue(*each), list[str](), asyncio.Event()
        first, second, third = (
            asyncio.create_task(hold_place(queue, key, served, done)) for key in ("a", "b", "c")
        )
        await until(lambda: queue.num_waiting == 2)
        second.cancel()
        await until(lambda: queue.num_waiting == 1)
        done.set()
        await asyncio.gather(first, third)
        assert served == ["a", "c"]
        assert each[0].num_active == 0


async def test_many_calls_cancelled_at_once_leak_no_place() -> None:
    async with open_endpoints(1, limit=2) as each:
        queue, done = open_queue(*each), asyncio.Event()
        calls = [asyncio.create_task(hold_place(queue, "a", [], done)) for _ in range(8)]
        await until(lambda: queue.num_waiting == 6)
        for call in calls:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert (each[0].num_active, queue.num_waiting) == (0, 0)


async def test_calls_of_one_prefix_share_an_endpoint_until_it_is_busy() -> None:
    async with open_endpoints(2, limit=100) as each:
        queue = open_queue(*each)
        async with (
            queue.hold_place(RequestContext(), b"prefix") as home,
            queue.hold_place(RequestContext(), b"prefix") as again,
        ):
            assert home is again
            other = next(endpoint for endpoint in each if endpoint is not home)
            avoid = home.base_url
            async with queue.hold_place(RequestContext(), b"prefix", avoid) as elsewhere:
                assert elsewhere is other
            home.num_active += 10
            async with queue.hold_place(RequestContext(), b"prefix") as busy:
                assert busy is other
            home.num_active -= 10


async def test_calls_go_to_the_least_busy_base_url() -> None:
    slow = scores(by_length, delay_s=0.2)
    async with (
        ScriptedJudge(always=slow, hold=5).serving() as one,
        ScriptedJudge(always=slow, hold=5).serving() as two,
    ):
        judge = endpoint_judge(one.url, concurrency=AT_ONCE)
        config = judge.config.model_copy(update={"base_urls": [one.url, two.url]})
        await judge.aclose()
        judge = EndpointJudge("main", config, Metrics())
        await asyncio.gather(*(ask(judge) for _ in range(20)))
        await judge.aclose()
    assert min(one.calls, two.calls) >= 8


async def test_one_call_tries_an_endpoint_that_had_no_credit() -> None:
    async with open_endpoints(1, limit=4) as [endpoint]:
        queue, served, done = open_queue(endpoint), list[str](), asyncio.Event()
        endpoint.out_of_credit = "no credit"
        endpoint.pause(60)
        with pytest.raises(JudgeQuotaExhausted, match="no credit"):
            await hold_place(queue, "a", served, done)
        endpoint.paused_until = 0.0  # the minute is over
        calls = [asyncio.create_task(hold_place(queue, key, served, done)) for key in "abc"]
        await until(lambda: queue.num_waiting == 2)
        assert served == ["a"]
        endpoint.out_of_credit = None  # as after an answer
        done.set()
        await asyncio.gather(*calls)
    assert served == ["a", "b", "c"]


async def test_calls_fail_with_the_one_that_finds_no_credit() -> None:
    async with open_endpoints(1, limit=4) as [endpoint]:
        queue, served, done = open_queue(endpoint), list[str](), asyncio.Event()
        endpoint.out_of_credit = "no credit"
        calls = [asyncio.create_task(hold_place(queue, key, served, done)) for key in "ab"]
        await until(lambda: queue.num_waiting == 1)
        endpoint.pause(60)  # as after another refusal
        done.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert served == ["a"]
    assert isinstance(outcomes[1], JudgeQuotaExhausted)
