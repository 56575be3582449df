"""Groups are admitted while few calls wait; the bound may be exceeded by a few groups."""

import asyncio

import pytest

from podium_service.errors import (
    Overloaded,
)
from podium_service.judges.dispatch.admission import Admission
from podium_service.judges.dispatch.endpoint_queue import EndpointQueue
from podium_service.judges.dispatch.request_context import RequestContext
from tests.fakes import (
    later,
    until,
)
from tests.service.judges.builders import (
    GOOD,
    ask,
    endpoint_at,
    hold_place,
    open_endpoints,
    open_judge,
    open_queue,
)

pytestmark = pytest.mark.anyio


def make_admission(queue: EndpointQueue, max_waiting: int = 100) -> Admission:
    return Admission([queue], max_waiting, lambda: queue.hold_s)


async def test_a_full_queue_refuses_groups_beyond_their_keys_share() -> None:
    async with open_endpoints(1, limit=1) as each:
        queue, done = EndpointQueue(each, 5.0, lambda: admission.notify_change()), asyncio.Event()
        admission = make_admission(queue, 4)
        calls = [asyncio.create_task(hold_place(queue, "a", [], done)) for _ in range(5)]
        await until(lambda: queue.num_waiting == 4)
        with pytest.raises(Overloaded, match="4 judge calls wait, and at most 4 may") as caught:
            await admission.admit(RequestContext("a"), 1)
        assert caught.value.retry_after_s
        await admission.admit(RequestContext("b"), 1)  # because it has a share of its own
        patient = asyncio.create_task(admission.admit(RequestContext("a", patient=True), 1))
        done.set()
        await patient
        await asyncio.gather(*calls)


async def test_a_group_that_cannot_be_ranked_in_time_is_refused_early() -> None:
    async with open_endpoints(1, limit=1) as each:
        queue, done = open_queue(*each), asyncio.Event()
        queue.hold_s = 2.0
        calls = [asyncio.create_task(hold_place(queue, "a", [], done)) for _ in range(4)]
        await until(lambda: queue.num_waiting == 3)
        now = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded, match="do not fit"):
            await make_admission(queue).admit(RequestContext("a", ends_at=now + 5), 1)
        await make_admission(queue).admit(RequestContext("a", ends_at=now + 500), 1)
        done.set()
        await asyncio.gather(*calls)


async def test_in_slow_start_the_highest_limit_is_reckoned_with() -> None:
    endpoint = endpoint_at("http://127.0.0.1:9/v1")
    queue, done = open_queue(endpoint), asyncio.Event()
    queue.hold_s = 2.0
    calls = [asyncio.create_task(hold_place(queue, "a", [], done)) for _ in range(104)]
    await until(lambda: queue.num_waiting == 100)
    now = asyncio.get_running_loop().time()
    # 100 calls of 2 s by 256 at once take 0.8 s; by 4 at once they would take 50 s.
    await make_admission(queue, 1000).admit(RequestContext("a", ends_at=now + 5), 1)
    done.set()
    await asyncio.gather(*calls)
    await endpoint.aclose()


async def test_admitted_calls_count_as_waiting_until_they_queue() -> None:
    async with open_endpoints(1, limit=4) as each:
        queue = open_queue(*each)
        queue.hold_s = 2.0
        admission, soon = make_admission(queue, 3), asyncio.get_running_loop().time() + 3.0
        await admission.admit(RequestContext(), 4)  # for the four places
        await admission.admit(RequestContext(ends_at=soon - 1.0), 0)
        assert admission.num_waiting == 0
        await admission.admit(RequestContext(), 2)
        assert admission.num_waiting == 2
        with pytest.raises(Overloaded, match=r"about 1\.0 s of waiting and 2"):
            await admission.admit(RequestContext(ends_at=soon - 1.0), 1)
        await admission.admit(RequestContext(), 1)
        with pytest.raises(Overloaded, match="3 judge calls wait, and at most 3 may"):
            await admission.admit(RequestContext(), 1)
        await until(lambda: admission.num_waiting == 0)  # none of them has queued


async def test_a_burst_of_groups_exceeds_the_bound_by_a_group_at_most() -> None:
    async with open_judge(always=later(GOOD, 0.05), concurrency=1, queue=9) as (judge, _):
        queue, most = judge.queues.endpoint_queue, 0

        async def run_group() -> None:
            nonlocal most
            await judge.admit(RequestContext(), 3)
            calls = [asyncio.create_task(ask(judge)) for _ in range(3)]
            for call in calls:
                await call
                most = max(most, queue.num_waiting)

        ends = await asyncio.gather(*(run_group() for _ in range(30)), return_exceptions=True)
        assert (
            sum(isinstance(end, Overloaded) for end in ends) == 30 - 4
        )  # 12 calls, one of them at the judge
        assert 9 <= most <= 9 - 1 + 3


async def test_patient_groups_are_admitted_in_order_as_calls_finish() -> None:
    async with open_endpoints(1, limit=1) as each:
        queue, done = EndpointQueue(each, 5.0, lambda: admission.notify_change()), asyncio.Event()
        admission, order, most = make_admission(queue, 4), list[int](), 0
        request_context = RequestContext(api_key_id="a", patient=True)

        async def run_group(number: int) -> None:
            await admission.admit(request_context, 3)
            order.append(number)
            await asyncio.gather(*(call() for _ in range(3)))

        async def call() -> None:
            nonlocal most
            async with queue.hold_place(request_context, b""):
                most = max(most, admission.num_waiting)
                await done.wait()

        groups = [asyncio.create_task(run_group(number)) for number in range(40)]
        await until(lambda: queue.num_waiting == 5)  # 6 calls, one of them at the judge
        groups[2].cancel()
        done.set()
        await asyncio.gather(*groups, return_exceptions=True)
        assert order == [0, 1, *range(3, 40)]
        assert most <= 4 - 1 + 2 * 3  # the last group admitted, and one more
        await until(lambda: admission.num_waiting == 0)
        assert each[0].num_active == 0


async def test_a_group_cancelled_as_it_is_admitted_admits_the_next() -> None:
    async with open_endpoints(1, limit=1) as each:
        counts = list[int]()

        def cancel_first() -> None:
            counts.append(admission.num_waiting)
            waiting[0].cancel()

        def on_change() -> None:
            admission.notify_change()
            if done.is_set():  # a group is admitted then, and has not run yet
                asyncio.get_running_loop().call_soon(cancel_first)

        queue, done = EndpointQueue(each, 5.0, on_change), asyncio.Event()
        admission = make_admission(queue, 1)
        busy = [asyncio.create_task(hold_place(queue, "a", [], done)) for _ in range(2)]
        await until(lambda: queue.num_waiting == 1)
        patient = RequestContext(api_key_id="a", patient=True)
        waiting = [asyncio.create_task(admission.admit(patient, 9)) for _ in range(3)]
        await asyncio.sleep(0)
        done.set()
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*waiting, *busy, return_exceptions=True)
        assert counts[0] == 9 - 1  # because one place is free
        assert [type(end) for end in ends] == [asyncio.CancelledError] + 4 * [type(None)]
        await until(lambda: admission.num_waiting == 0)
