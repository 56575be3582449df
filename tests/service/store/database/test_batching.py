"""Batches: which items go together, which are dropped, and which get an error."""

import asyncio
from collections.abc import Sequence

import pytest

from podium_service.store.database.batching import Batcher
from tests.fakes import until

pytestmark = pytest.mark.anyio


class Doubling:
    """Doubles the items of a batch once it may; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_run = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        await self.may_run.wait()
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure
        return [2 * item for item in items]


async def started(doubling: Doubling) -> None:
    """Wait until the first batch runs."""
    await until(lambda: bool(doubling.batches))


async def test_items_that_arrive_during_a_batch_form_the_next_one() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling)
    first = [batcher.put(item) for item in (1, 2)]
    await started(doubling)
    second = [batcher.put(item) for item in (3, 4, 5)]
    doubling.may_run.set()
    assert await asyncio.gather(*first, *second) == [2, 4, 6, 8, 10]
    assert doubling.batches == [[1, 2], [3, 4, 5]]
    assert await batcher.put(6) == 12


async def test_an_item_cancelled_before_its_batch_is_dropped() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling)
    running = [batcher.put(item) for item in (1, 2)]
    await started(doubling)
    waiting = [batcher.put(item) for item in (3, 4)]
    running[0].cancel()
    waiting[0].cancel()
    doubling.may_run.set()
    assert await running[1] == 4
    assert await waiting[1] == 8
    assert doubling.batches == [[1, 2], [4]]


async def test_an_error_of_a_batch_is_raised_to_its_waiters_alone() -> None:
    doubling = Doubling()
    doubling.failure = OSError("gone")
    batcher = Batcher(doubling)
    first = [batcher.put(item) for item in (1, 2)]
    await started(doubling)
    second = batcher.put(3)
    doubling.may_run.set()
    failures = await asyncio.gather(*first, return_exceptions=True)
    assert [repr(failure) for failure in failures] == ["OSError('gone')"] * 2
    assert await second == 6


async def test_an_error_of_an_item_is_raised_to_its_waiter_alone() -> None:
    async def run(items: list[int]) -> Sequence[int | Exception]:
        return [OSError("odd") if item % 2 else item for item in items]

    batcher: Batcher[int, int] = Batcher(run)
    found = await asyncio.gather(*map(batcher.put, range(4)), return_exceptions=True)
    assert [repr(each) for each in found] == ["0", "OSError('odd')", "2", "OSError('odd')"]
