"""Batches: who goes together, who is dropped, who learns of a failure."""

import asyncio
from collections.abc import Sequence

import pytest

from podium_service.store.database.batching import Batcher
from tests.fakes import until

pytestmark = pytest.mark.anyio


class Doubling:
    """Doubles what it is given, when told to; keeps the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        await self.go.wait()
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure
        return [2 * item for item in items]


async def started(doubling: Doubling) -> None:
    await until(lambda: bool(doubling.batches))


async def test_newcomers_gather_while_a_batch_runs_and_each_gets_its_own_result() -> None:
    doubling = Doubling()
    batched = Batcher(doubling)
    first = [batched.put(item) for item in (1, 2)]
    await started(doubling)
    second = [batched.put(item) for item in (3, 4, 5)]
    doubling.go.set()
    assert await asyncio.gather(*first, *second) == [2, 4, 6, 8, 10]
    assert doubling.batches == [[1, 2], [3, 4, 5]]
    assert await batched.put(6) == 12


async def test_who_leaves_before_its_batch_is_dropped_and_the_others_go_on() -> None:
    doubling = Doubling()
    batched = Batcher(doubling)
    running = [batched.put(item) for item in (1, 2)]
    await started(doubling)
    waiting = [batched.put(item) for item in (3, 4)]
    running[0].cancel()
    waiting[0].cancel()
    doubling.go.set()
    assert await running[1] == 4
    assert await waiting[1] == 8
    assert doubling.batches == [[1, 2], [4]]


async def test_a_failure_is_that_of_its_batch_alone() -> None:
    doubling = Doubling()
    doubling.failure = OSError("gone")
    batched = Batcher(doubling)
    first = [batched.put(item) for item in (1, 2)]
    await started(doubling)
    second = batched.put(3)
    doubling.go.set()
    failures = await asyncio.gather(*first, return_exceptions=True)
    assert [repr(failure) for failure in failures] == ["OSError('gone')"] * 2
    assert await second == 6


async def test_a_result_that_is_an_error_is_raised_to_its_own_waiter_alone() -> None:
    async def run(items: list[int]) -> Sequence[int | Exception]:
        return [OSError("odd") if item % 2 else item for item in items]

    batched: Batcher[int, int] = Batcher(run)
    found = await asyncio.gather(*map(batched.put, range(4)), return_exceptions=True)
    assert [repr(each) for each in found] == ["0", "OSError('odd')", "2", "OSError('odd')"]
