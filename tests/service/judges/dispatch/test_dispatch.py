"""Who may call a judge, where the call goes, and what it may cost; numbers worked out by hand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from podium_service.errors import (
    JudgeRateLimited,
    JudgeSpendLimit,
    JudgeUnavailable,
    KeySpendLimit,
    Overloaded,
)
from podium_service.judges.dispatch.admission import Admission
from podium_service.judges.dispatch.endpoint_queue import EndpointQueue
from podium_service.judges.dispatch.rate_limit import RateLimiter
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.adaptive_limit import AdaptiveLimit
from podium_service.judges.endpoint.circuit_breaker import FAILURES, LAST_REST_S, CircuitBreaker
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.group_budget import Budget
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.templates import Prompt, scores_prompt
from podium_service.prompts.transcript import transcribe
from podium_service.store.quotas.quota_service import AccountSpending
from podium_service.store.quotas.spend import SpendAccount, SpendLimit
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    drops,
    fails,
    hangs,
    later,
    scores,
    until,
)
from tests.service.helpers import endpoint_judge, llm, request

pytestmark = pytest.mark.anyio

GOOD = scores(by_length)


# concurrency


def test_the_limit_is_cut_once_a_round_and_never_below_its_low_bound() -> None:
    limit = AdaptiveLimit(4, 100)
    limit.record_overload(started_at=0.0, now=1.0)
    limit.record_overload(started_at=0.5, now=1.1)  # was in flight at the cut
    assert limit.limit == 70
    for moment in range(2, 20):
        limit.record_overload(started_at=moment, now=moment)
    assert limit.limit == 4


def test_the_limit_grows_by_a_step_a_round_while_it_is_in_use() -> None:
    limit = AdaptiveLimit(1, 320)
    for moment in range(3):
        limit.record_overload(started_at=moment, now=moment)
    before = limit.limit  # 320 * .7 ** 3
    assert before == 109
    for _ in range(before):
        limit.record_success(num_active=before)
    assert limit.limit == pytest.approx(before + 10, abs=1)  # 320 / 32
    for _ in range(1000):
        limit.record_success(num_active=3)  # idle: tells nothing
    assert limit.limit == pytest.approx(before + 10, abs=1)


# breaker


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker()
    assert [breaker.record_failure(0.0, 10.0) for _ in range(FAILURES)] == [False] * (
        FAILURES - 1
    ) + [True]
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_and_rests_a_second() -> None:
    assert opened().wait_s(10.2) == pytest.approx(0.8)
    breaker = CircuitBreaker()
    for _ in range(FAILURES - 1):
        breaker.record_failure(0.0, 1.0)
    breaker.record_success()
    assert not breaker.record_failure(0.0, 1.0)  # not in a row


def test_a_half_open_breaker_lets_one_call_try_and_rests_twice_as_long_if_it_fails() -> None:
    breaker = opened()
    assert breaker.wait_s(11.0) == 0
    breaker.record_start(11.0)
    assert breaker.wait_s(11.0) == 1.0  # the others wait for its end
    assert breaker.wait_s(14.5) == 3.5  # which seems the farther the later it is
    assert not breaker.record_failure(10.5, 11.1)  # in flight since before: tells nothing new
    assert breaker.record_failure(11.0, 12.0)
    assert breaker.wait_s(12.0) == pytest.approx(2.0)
    breaker.record_start(14.0)
    breaker.record_success()
    assert breaker.wait_s(14.1) == 0
    assert not breaker.is_open


def test_the_rest_of_a_breaker_is_bounded() -> None:
    breaker, now = opened(), 10.0
    for _ in range(12):
        now += breaker.wait_s(now)
        breaker.record_start(now)
        breaker.record_failure(now, now)
    assert breaker.wait_s(now) == LAST_REST_S


def test_a_trial_that_tells_nothing_lets_another_call_try() -> None:
    breaker = opened()
    breaker.record_start(11.0)
    breaker.record_end(10.0)  # an older call
    assert breaker.wait_s(11.5) > 0
    breaker.record_end(11.0)
    assert breaker.wait_s(11.5) == 0


async def test_an_endpoint_that_keeps_failing_is_left_alone_and_comes_back() -> None:
    down = [drops] * (FAILURES + 1)
    async with judging(*down, always=GOOD, attempts=1) as (judge, scripted):
        for _ in range(FAILURES):
            with pytest.raises(JudgeUnavailable):
                await ask(judge)
        with pytest.raises(JudgeUnavailable):  # waits the second out, and tries
            await ask(judge)
        assert scripted.calls == FAILURES + 1
        await ask(judge)  # two seconds later it is back
    assert scripted.calls == FAILURES + 2


# the line


def line(*endpoints: Endpoint) -> EndpointQueue:
    return EndpointQueue(endpoints, max_pause_s=5.0, on_change=lambda: None)


@asynccontextmanager
async def endpoints(number: int, limit: int) -> AsyncIterator[list[Endpoint]]:
    opened = [
        Endpoint(f"http://127.0.0.1:9/{index}", None, concurrency=(limit, limit))
        for index in range(number)
    ]
    try:
        yield opened
    finally:
        await asyncio.gather(*(each.aclose() for each in opened))


async def hold(line: EndpointQueue, key: str, served: list[str], done: asyncio.Event) -> None:
    async with line.hold_place(RequestContext(key), b""):
        served.append(key)
        await done.wait()


async def test_keys_take_turns_however_many_calls_each_has_waiting() -> None:
    async with endpoints(1, limit=1) as each:
        queue, served, done = line(*each), list[str](), asyncio.Event()
        calls = [asyncio.create_task(hold(queue, "a", served, done)) for _ in range(6)]
        await until(lambda: queue.num_waiting == 5)
        calls += [asyncio.create_task(hold(queue, "b", served, done)) for _ in range(2)]
        await until(lambda: queue.num_waiting == 7)
        done.set()
        await asyncio.gather(*calls)
    assert "".join(served) == "aababaaa"
    assert queue.num_waiting == 0


class JustRested(Endpoint):
    """Rests at the first looks at the clock, and has rested at the next one."""

    def __init__(self, looks: int) -> None:
        super().__init__("http://127.0.0.1:9", None, concurrency=(1, 1))
        self._waits = iter([0.001] * looks)

    def wait_s(self) -> float:
        return next(self._waits, 0.0)


@pytest.mark.parametrize("looks", [1, 2, 3, 4])
async def test_an_endpoint_that_rests_until_just_now_serves_who_waits(looks: int) -> None:
    endpoint = JustRested(looks)
    async with asyncio.timeout(5), line(endpoint).hold_place(RequestContext("a"), b""):
        assert endpoint.num_active == 1
    await endpoint.aclose()


def admission(queue: EndpointQueue, max_waiting: int = 100) -> Admission:
    return Admission([queue], max_waiting, lambda: queue.hold_s)


async def test_a_full_line_refuses_with_a_time_to_come_back_but_leaves_each_key_its_share() -> None:
    async with endpoints(1, limit=1) as each:
        queue, done = EndpointQueue(each, 5.0, lambda: door.notify_change()), asyncio.Event()
        door = admission(queue, 4)
        calls = [asyncio.create_task(hold(queue, "a", [], done)) for _ in range(5)]
        await until(lambda: queue.num_waiting == 4)
        with pytest.raises(Overloaded, match="4 judge calls wait, and at most 4 may") as caught:
            await door.admit(RequestContext("a"), 1)
        assert caught.value.retry_after_s
        await door.admit(RequestContext("b"), 1)  # a share of its own
        patient = asyncio.create_task(door.admit(RequestContext("a", patient=True), 1))
        done.set()
        await patient
        await asyncio.gather(*calls)


async def test_a_group_that_cannot_be_served_in_time_is_refused_early() -> None:
    async with endpoints(1, limit=1) as each:
        queue, done = line(*each), asyncio.Event()
        queue.hold_s = 2.0  # as measured
        calls = [asyncio.create_task(hold(queue, "a", [], done)) for _ in range(4)]
        await until(lambda: queue.num_waiting == 3)
        now = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded, match="do not fit"):
            await admission(queue).admit(RequestContext("a", ends_at=now + 5), 1)
        await admission(queue).admit(RequestContext("a", ends_at=now + 500), 1)
        done.set()
        await asyncio.gather(*calls)


async def test_places_of_calls_that_were_never_made_tell_nothing_of_how_long_one_is_held() -> None:
    poor = RequestContext("poor", spend_limit=SpendLimit(usd=1e-6))
    async with judging(always=later(GOOD, 0.2), quotas=Purse(), price=PRICE) as (judge, _):
        await ask(judge)
        held_s = judge._calls.queues.endpoint_queue.hold_s
        for _ in range(9):
            with pytest.raises(KeySpendLimit):
                await ask(judge, poor)
        assert judge._calls.queues.endpoint_queue.hold_s == held_s >= 0.2
        assert judge.endpoints[0].num_active == 0


async def test_a_rest_that_ends_after_the_deadline_is_not_waited_for() -> None:
    async with judging(always=fails(429, "slow down", Retry_After="50"), attempts=1) as (judge, _):
        with pytest.raises(JudgeRateLimited):
            await ask(judge)  # from now on the endpoint rests
        loop = asyncio.get_running_loop()
        with pytest.raises(JudgeRateLimited, match="asks to wait") as refused:
            await ask(judge, RequestContext(ends_at=loop.time() + 30))
        assert (refused.value.retry_after_s or 0) > 30
        waiting = asyncio.create_task(ask(judge, RequestContext(ends_at=loop.time() + 300)))
        await until(lambda: judge._calls.queues.endpoint_queue.num_waiting == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def test_prefixes_are_at_home_at_each_endpoint_as_often() -> None:
    each = [Endpoint(f"http://judge-{index}:8000/v1", None) for index in range(3)]
    homes = Counter(
        max(each, key=lambda one: one.affinity(b"%016d" % number)).base_url
        for number in range(3000)
    )
    assert all(900 < times < 1100 for times in homes.values())


async def test_an_endpoint_that_hangs_is_found_out_by_callers_who_give_it_up() -> None:
    async with judging(always=hangs, timeout_s=0.4) as (judge, scripted):
        for number in range(FAILURES):
            assert not judge.endpoints[0].breaker.is_open
            call = asyncio.create_task(ask(judge))
            await until(lambda asked=number + 1: scripted.calls == asked)
            await asyncio.sleep(0.25)  # more than half of what it may take
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert judge.endpoints[0].breaker.is_open


async def test_a_call_given_up_before_it_was_late_says_nothing_of_its_endpoint() -> None:
    async with judging(always=hangs) as (judge, scripted):
        for number in range(FAILURES):
            call = asyncio.create_task(ask(judge))
            await until(lambda asked=number + 1: scripted.calls == asked)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert not judge.endpoints[0].breaker.is_open


async def test_who_is_behind_a_trial_that_hangs_does_not_wait_for_its_end() -> None:
    script = [drops] * FAILURES
    async with judging(*script, always=hangs, attempts=1) as (judge, scripted):
        for _ in range(FAILURES):
            with pytest.raises(JudgeUnavailable):
                await ask(judge)
        trial = asyncio.create_task(ask(judge))
        await until(lambda: scripted.calls == FAILURES + 1)
        with pytest.raises(JudgeUnavailable, match="left alone"):
            await asyncio.wait_for(ask(judge), 20)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)


async def test_admitted_calls_count_until_they_queue_unless_a_place_is_free() -> None:
    async with endpoints(1, limit=4) as each:
        queue = line(*each)
        queue.hold_s = 2.0
        door, soon = admission(queue, 3), asyncio.get_running_loop().time() + 3.0
        await door.admit(RequestContext(), 4)  # to the four places
        await door.admit(RequestContext(ends_at=soon - 1.0), 0)
        assert door.num_waiting == 0
        await door.admit(RequestContext(), 2)
        assert door.num_waiting == 2
        with pytest.raises(Overloaded, match=r"about 1\.0 s of waiting and 2"):
            await door.admit(RequestContext(ends_at=soon - 1.0), 1)
        await door.admit(RequestContext(), 1)
        with pytest.raises(Overloaded, match="3 judge calls wait, and at most 3 may"):
            await door.admit(RequestContext(), 1)
        await until(lambda: door.num_waiting == 0)  # none of them has queued


async def test_a_burst_of_groups_overshoots_the_bound_by_a_group_at_most() -> None:
    async with judging(always=later(GOOD, 0.05), concurrency=1, queue=9) as (judge, _):
        waiting, most = judge._calls.queues.endpoint_queue, 0

        async def asks() -> None:
            nonlocal most
            await judge.admit(RequestContext(), 3)
            calls = [asyncio.create_task(ask(judge)) for _ in range(3)]
            for call in calls:
                await call
                most = max(most, waiting.num_waiting)

        ends = await asyncio.gather(*(asks() for _ in range(30)), return_exceptions=True)
        assert sum(isinstance(end, Overloaded) for end in ends) == 30 - 4  # 12 calls, one is out
        assert 9 <= most <= 9 - 1 + 3


async def test_patient_groups_are_admitted_in_order_as_there_is_room() -> None:
    async with endpoints(1, limit=1) as each:
        queue, done = EndpointQueue(each, 5.0, lambda: door.notify_change()), asyncio.Event()
        door, order, most = admission(queue, 4), list[int](), 0
        request_context = RequestContext(api_key_id="a", patient=True)

        async def asks(number: int) -> None:
            await door.admit(request_context, 3)
            order.append(number)
            await asyncio.gather(*(calls() for _ in range(3)))

        async def calls() -> None:
            nonlocal most
            async with queue.hold_place(request_context, b""):
                most = max(most, door.num_waiting)
                await done.wait()

        groups = [asyncio.create_task(asks(number)) for number in range(40)]
        await until(lambda: queue.num_waiting == 5)  # 6 calls, one of them at the judge
        groups[2].cancel()
        done.set()
        await asyncio.gather(*groups, return_exceptions=True)
        assert order == [0, 1, *range(3, 40)]
        assert most <= 4 - 1 + 2 * 3  # a call more than may wait, and one more group
        await until(lambda: door.num_waiting == 0)
        assert each[0].num_active == 0


async def test_a_patient_group_that_leaves_as_it_is_admitted_admits_the_next() -> None:
    async with endpoints(1, limit=1) as each:
        seen = list[int]()

        def leaves() -> None:
            seen.append(door.num_waiting)
            waiting[0].cancel()

        def changed() -> None:
            door.notify_change()
            if done.is_set():  # it is admitted then, and will not have run yet
                asyncio.get_running_loop().call_soon(leaves)

        queue, done = EndpointQueue(each, 5.0, changed), asyncio.Event()
        door = admission(queue, 1)
        busy = [asyncio.create_task(hold(queue, "a", [], done)) for _ in range(2)]
        await until(lambda: queue.num_waiting == 1)
        patient = RequestContext(api_key_id="a", patient=True)
        # Each starts with more calls than there will ever be room for.
        waiting = [asyncio.create_task(door.admit(patient, 9)) for _ in range(3)]
        await asyncio.sleep(0)
        done.set()
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*waiting, *busy, return_exceptions=True)
        assert seen[0] == 9 - 1  # one place is free
        assert [type(end) for end in ends] == [asyncio.CancelledError] + 4 * [type(None)]
        await until(lambda: door.num_waiting == 0)


async def test_who_leaves_the_line_takes_no_place_and_passes_on_one_just_given() -> None:
    async with endpoints(1, limit=1) as each:
        queue, served, done = line(*each), list[str](), asyncio.Event()
        first, second, third = (
            asyncio.create_task(hold(queue, key, served, done)) for key in ("a", "b", "c")
        )
        await until(lambda: queue.num_waiting == 2)
        second.cancel()
        await until(lambda: queue.num_waiting == 1)
        done.set()
        await asyncio.gather(first, third)
        assert served == ["a", "c"]
        assert each[0].num_active == 0


async def test_many_who_leave_at_once_leak_no_place() -> None:
    async with endpoints(1, limit=2) as each:
        queue, done = line(*each), asyncio.Event()
        calls = [asyncio.create_task(hold(queue, "a", [], done)) for _ in range(8)]
        await until(lambda: queue.num_waiting == 6)
        for call in calls:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert (each[0].num_active, queue.num_waiting) == (0, 0)


async def test_calls_with_one_prefix_stay_at_one_endpoint_until_it_is_busy() -> None:
    async with endpoints(2, limit=100) as each:
        queue = line(*each)
        async with (
            queue.hold_place(RequestContext(), b"prefix") as home,
            queue.hold_place(RequestContext(), b"prefix") as again,
        ):
            assert home is again
            other = next(endpoint for endpoint in each if endpoint is not home)
            async with queue.hold_place(
                RequestContext(), b"prefix", avoid=home.base_url
            ) as elsewhere:
                assert elsewhere is other
            home.num_active += 10
            async with queue.hold_place(RequestContext(), b"prefix") as busy:
                assert busy is other
            home.num_active -= 10


async def test_a_429_lowers_what_the_endpoint_is_given() -> None:
    async with judging(fails(429), GOOD, concurrency=100) as (judge, _):
        await ask(judge)
        assert judge.endpoints[0].concurrency.limit == 70


# hedging


async def test_a_second_call_is_made_only_where_configured_and_the_first_answer_counts() -> None:
    async with (
        ScriptedJudge(always=hangs).serving() as slow,
        ScriptedJudge(always=GOOD).serving() as fast,
    ):
        urls = [slow.url, fast.url]
        judge = endpoint_judge("", base_urls=urls, hedge_after_s=0.05, timeout_s=20)
        for _ in range(4):  # wherever home is
            await ask(judge)
        await judge.aclose()
    assert fast.calls == 4


async def test_a_second_call_avoids_where_the_first_hangs_though_that_one_was_elsewhere() -> None:
    async with (
        ScriptedJudge([hangs], always=GOOD).serving() as one,
        ScriptedJudge([fails(500), GOOD], always=GOOD).serving() as two,
    ):
        # From `two`, which fails, to `one`, which hangs, and back: `one` has a call out.
        judge = endpoint_judge("", base_urls=[two.url, one.url], hedge_after_s=1.5, timeout_s=20)
        judge.endpoints[1].num_active += 10  # so that the first call goes to `two`
        asked = asyncio.create_task(ask(judge))
        await until(lambda: two.calls == 1)
        judge.endpoints[1].num_active -= 10
        await asked
        await judge.aclose()
    assert (one.calls, two.calls) == (1, 2)


async def test_a_hedged_call_that_fails_waits_for_the_other() -> None:
    answers = [scores(by_length, delay_s=2.0), fails(500)]
    async with judging(*answers, hold=2, hedge_after_s=0.05, attempts=1) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


# money


class Purse:
    """Quotas of one process, counted by hand."""

    def __init__(self, waits: Sequence[float] = ()) -> None:
        self.reserved = self.settled = self.most = 0.0
        self.given_back: list[float] = []
        self.looks = self.takes = 0
        self._waits = list(waits)

    async def take(self, account: str, per_minute: float, amount: float) -> float:
        self.takes += 1
        return self._waits.pop(0) if self._waits else 0.0

    def give_back(self, account: str, per_minute: float, amount: float) -> None:
        self.given_back.append(amount)

    async def reserve(
        self, holds: Sequence[SpendAccount], usd: float, *, at: float
    ) -> SpendAccount | None:
        for each in holds:
            if self.reserved + self.settled + usd > each.limit_usd:
                return each
        self.reserved += usd
        self.most = max(self.most, self.reserved + self.settled)
        return None

    async def read_spending(
        self, holds: Iterable[SpendAccount], *, at: float
    ) -> dict[SpendAccount, AccountSpending]:
        self.looks += 1
        return {each: AccountSpending(self.settled, self.reserved) for each in holds}

    def settle(
        self, holds: Sequence[SpendAccount], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None:
        self.reserved -= reserved_usd
        self.settled += spent_usd


PRICE = {"prompt": 1.0, "completion": 10.0}
PAID = (100 * 1.0 + 10 * 10.0) / 1e6  # what the scripted judge's reply counts


async def test_the_worst_case_is_reserved_and_settled_by_what_the_call_cost() -> None:
    purse = Purse()
    spend = {"usd": 0.02}
    async with judging(GOOD, quotas=purse, price=PRICE, spend=spend) as (judge, _):
        await ask(judge)
    assert purse.settled == pytest.approx(PAID)
    assert purse.reserved == pytest.approx(0)
    assert purse.most > 500 * 10 / 1e6  # all tokens of the cap


async def test_a_call_that_does_not_fit_the_limit_is_not_made() -> None:
    spend = {"usd": 0.001, "per": "month"}
    async with judging(quotas=Purse(), price=PRICE, spend=spend) as (judge, scripted):
        with pytest.raises(JudgeSpendLimit, match=r"not fit what is left of \$0.001 per month"):
            await ask(judge)
    assert scripted.calls == 0


async def test_a_call_waits_for_what_calls_in_flight_reserve_and_will_not_need() -> None:
    purse = Purse()
    spend = {"usd": 0.0075}  # one worst case at a time: 500 tokens and some bytes
    late = scores(by_length, delay_s=0.05)
    async with judging(always=late, quotas=purse, price=PRICE, spend=spend) as (judge, scripted):
        await asyncio.gather(*(ask(judge) for _ in range(3)))
    assert (scripted.calls, scripted.max_in_flight) == (3, 1)
    assert purse.settled == pytest.approx(3 * PAID)
    assert purse.most <= 0.0075


LIMITED = RequestContext(api_key_id="a", spend_limit=SpendLimit(usd=0.02))


async def test_a_call_that_waits_for_money_takes_no_place_and_no_trial_from_another_key() -> None:
    purse, other = Purse(), RequestContext(api_key_id="b")
    purse.reserved = 0.02  # by a process that was killed
    settings: dict[str, Any] = {"price": PRICE, "concurrency": 1, "queue": 1}
    async with judging(always=GOOD, quotas=purse, **settings) as (judge, scripted):
        [endpoint] = judge.endpoints
        for _ in range(FAILURES):
            endpoint.breaker.record_failure(0.0, 0.0)  # half open by now
        waiting = asyncio.create_task(ask(judge, LIMITED))
        await until(lambda: purse.looks >= 2)  # one in a place, one outside
        assert (endpoint.num_active, endpoint.breaker.is_open) == (0, True)
        with pytest.raises(Overloaded, match="1 judge calls wait"):
            await judge.admit(LIMITED, 1)
        await judge.admit(other, 1)
        await ask(judge, other)
        assert (scripted.calls, endpoint.breaker.is_open) == (1, False)
        purse.reserved = 0.0
        await waiting
        await judge.admit(LIMITED, 1)
    assert scripted.calls == 2


async def test_a_call_waits_for_money_no_longer_than_for_an_answer() -> None:
    purse = Purse()
    purse.reserved = 0.02
    settings: dict[str, Any] = {"price": PRICE, "requests_per_minute": 60, "timeout_s": 0.1}
    async with judging(quotas=purse, **settings) as (judge, scripted):
        with pytest.raises(Overloaded, match=r"reserve what a call .* needs of \$0.02 per day"):
            await ask(judge, LIMITED)
        assert judge.endpoints[0].num_active == 0
    assert (scripted.calls, purse.given_back, purse.reserved) == (0, [1.0], 0.02)


@pytest.mark.parametrize("count", [2**64 - 1, 10**12, 1e300])
async def test_an_absurd_count_of_tokens_costs_no_more_than_the_worst_case(count: float) -> None:
    def absurd(asked: Asked) -> Answer:
        answer = GOOD(asked)
        assert isinstance(answer.body, dict)
        usage = {"prompt_tokens": 10**8, "completion_tokens": count}
        return replace(answer, body={**answer.body, "usage": usage})

    purse = Purse()
    async with judging(absurd, quotas=purse, price=PRICE, spend={"usd": 0.02}) as (judge, _):
        await ask(judge)
    assert purse.settled == pytest.approx(purse.most)
    assert purse.reserved == pytest.approx(0)


async def test_who_leaves_while_waiting_for_money_waits_no_more() -> None:
    purse = Purse()
    purse.reserved = 0.02
    async with judging(always=GOOD, quotas=purse, price=PRICE, queue=1) as (judge, scripted):
        waiting = asyncio.create_task(ask(judge, LIMITED))
        await until(lambda: purse.looks >= 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await judge.admit(LIMITED, 1)
    assert (scripted.calls, purse.reserved, purse.settled) == (0, 0.02, 0.0)


async def test_the_callers_key_has_a_limit_of_its_own() -> None:
    async with judging(quotas=Purse(), price=PRICE) as (judge, scripted):
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
async def test_an_answered_failure_is_free_and_an_unanswered_one_counts_as_its_worst_case(
    failure: Step, paid: bool
) -> None:
    purse = Purse()
    settings: dict[str, Any] = {"price": PRICE, "spend": {"usd": 1.0}, "attempts": 1}
    settings["timeout_s"] = 0.3 if failure is hangs else 20
    async with judging(failure, quotas=purse, **settings) as (judge, _):
        with pytest.raises(JudgeUnavailable):
            await ask(judge)
    assert (purse.settled > 500 * 10 / 1e6) is paid
    assert purse.reserved == pytest.approx(0)


async def test_a_call_to_nobody_is_free() -> None:
    purse = Purse()
    settings = {"price": PRICE, "spend": {"usd": 1.0}, "attempts": 1}
    config = LLMJudge.model_validate(llm("http://127.0.0.1:9/v1", **settings))
    judge = EndpointJudge("main", config, Metrics(), purse)
    with pytest.raises(JudgeUnavailable):
        await ask(judge)
    await judge.aclose()
    assert purse.settled == 0


async def test_a_call_waits_for_its_rate_and_gives_back_what_it_did_not_take() -> None:
    purse = Purse(waits=[0.05, 0.05])  # of requests, of tokens
    rates: dict[str, Any] = {"requests_per_minute": 60, "tokens_per_minute": 6000}
    async with judging(GOOD, quotas=purse, **rates) as (judge, _):
        request_context = RequestContext()
        await ask(judge, request_context)
    assert 0.1 <= request_context.timing.queue_s < 10
    assert len(purse.given_back) == 1
    assert purse.given_back[0] > 500 - 110  # the cap was 500 tokens, 110 were counted


def paced(purse: Purse, **rates: float) -> RateLimiter:
    config = LLMJudge.model_validate(llm("http://127.0.0.1:9/v1", **rates))
    return RateLimiter("main", config, purse, lambda: None)


async def test_calls_pass_at_their_pace_one_key_after_the_other() -> None:
    pace, passed = paced(Purse(waits=[1.0] + [0.0] * 5), requests_per_minute=60), list[str]()

    async def passes(key: str) -> None:
        async with pace.acquire(prompt(), 500, RequestContext(key)) as permit:
            passed.append(key)
            permit.sent = True

    calls = [asyncio.create_task(passes("a")) for _ in range(4)]
    await until(lambda: pace.num_waiting == 4)
    calls += [asyncio.create_task(passes("b")) for _ in range(2)]
    await asyncio.gather(*calls)
    assert "".join(passed) == "aababa"
    assert pace.num_waiting == 0


async def test_who_leaves_or_is_refused_gives_back_what_was_taken() -> None:
    purse = Purse(waits=[60.0])
    pace = paced(purse, requests_per_minute=60, tokens_per_minute=6000)
    waiting = asyncio.create_task(pace.acquire(prompt(), 500, RequestContext("a")).__aenter__())
    await until(lambda: pace.num_waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert purse.given_back == [1.0]
    async with pace.acquire(prompt(), 500, RequestContext("b")):
        pass  # nothing was sent
    assert len(purse.given_back) == 3


async def test_a_turn_that_comes_after_the_deadline_is_not_waited_for() -> None:
    purse = Purse(waits=[60.0])
    pace = paced(purse, requests_per_minute=60)
    request_context = RequestContext("a", ends_at=asyncio.get_running_loop().time() + 30)
    with pytest.raises(JudgeRateLimited, match=r"turn comes in 60\.0 s"):
        await pace.acquire(prompt(), 500, request_context).__aenter__()
    assert (purse.given_back, pace.num_waiting) == ([1.0], 0)


async def test_calls_without_a_place_take_nothing_from_a_rate() -> None:
    purse = Purse()
    slow = later(GOOD, 0.3)
    async with judging(slow, always=GOOD, quotas=purse, requests_per_minute=60, concurrency=1) as (
        judge,
        scripted,
    ):
        calls = [asyncio.create_task(ask(judge)) for _ in range(3)]
        await until(
            lambda: judge._calls.queues.endpoint_queue.num_waiting == 2 and scripted.calls == 1
        )
        assert purse.takes == 1  # or they would leave all at once after a stall
        await asyncio.gather(*calls)
    assert (purse.takes, purse.given_back) == (3, [])


async def test_an_endpoint_that_asks_for_a_rest_meanwhile_is_not_asked_in_turn_either() -> None:
    purse = Purse(waits=[0.0, 0.3])
    settings: dict[str, Any] = {"requests_per_minute": 60, "concurrency": 2, "attempts": 1}
    rests = fails(429, "slow down", Retry_After="1")
    async with judging(rests, always=GOOD, quotas=purse, **settings) as (judge, scripted):
        first, second = asyncio.create_task(ask(judge)), asyncio.create_task(ask(judge))
        with pytest.raises(JudgeRateLimited):
            await first
        asked = asyncio.get_running_loop().time()
        await second
        assert asyncio.get_running_loop().time() - asked > 0.9
    assert (scripted.calls, purse.given_back) == (2, [1.0])


@asynccontextmanager
async def judging(
    *script: Step,
    always: Step | None = None,
    hold: int = 0,
    quotas: Purse | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[EndpointJudge, ScriptedJudge]]:
    async with ScriptedJudge(script, always=always, hold=hold).serving() as scripted:
        config = LLMJudge.model_validate(llm(scripted.url, **settings))
        judge = EndpointJudge("main", config, Metrics(), quotas)
        try:
            yield judge, scripted
        finally:
            await judge.aclose()


def prompt() -> Prompt:
    transcript = transcribe(request("5", "five"), [0, 1])
    return scores_prompt("You are a judge.", transcript, [1, 0])


async def ask(judge: EndpointJudge, request_context: RequestContext | None = None) -> None:
    await judge.ask(
        prompt(), 500, lambda call: None, Budget(None), request_context or RequestContext()
    )
