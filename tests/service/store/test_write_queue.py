"""The writer's queue: what is kept, what is let go, and what all that costs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from podium_service.errors import StoreUnavailable
from podium_service.store.database.database import Rows
from podium_service.store.write_queue import Write, WriteQueue

pytestmark = pytest.mark.anyio


class Disk:
    """Takes what is written, unless it is full, and when it may."""

    def __init__(self) -> None:
        self.full = False
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writing = asyncio.Event()

    async def __call__(self, rows: Rows, released: list[str]) -> None:
        self.writing.set()
        await self.may_write.wait()
        if self.full:
            raise StoreUnavailable("the disk is full")


@asynccontextmanager
async def running(disk: Disk) -> AsyncIterator[WriteQueue]:
    writer = WriteQueue(disk)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        writer.stop()
        await task


async def test_ten_thousand_calls_that_are_kept_do_not_hold_up_the_others() -> None:
    disk = Disk()
    disk.full = True
    async with running(disk) as writer:
        calls = [Write({}, f"{index:064d}", 0) for index in range(10_000)]
        started = time.process_time()
        for batch in (calls, [Write({}, "", None)]):
            for write in batch:
                writer.put(write)
            await flushed(writer)
        assert time.process_time() - started < 0.5  # with a look at all for each: 2 s
        disk.full = False
    assert all(write.done.exception() is None for write in calls)


@pytest.mark.parametrize("is_killed", [False, True])
async def test_what_is_put_during_the_last_commit_is_settled(*, is_killed: bool) -> None:
    disk = Disk()
    disk.may_write.clear()
    writer = WriteQueue(disk)
    task = asyncio.create_task(writer.run())
    writer.put(Write({}, "a", 0))
    writer.stop()
    await disk.writing.wait()
    late = Write({}, "b", 0)
    writer.put(late)
    if is_killed:
        task.cancel()
    disk.may_write.set()
    await asyncio.wait([task])
    assert late.done.result() is None


async def test_a_call_that_comes_after_the_end_is_not_lost_in_silence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with running(Disk()) as writer:
        pass
    writer.put(Write({}, "a", 0))
    assert "store_calls_lost" in capsys.readouterr().out


async def flushed(writer: WriteQueue) -> None:
    """Once all that is queued was tried."""
    last = Write({}, "", None)
    writer.put(last)
    await asyncio.wait([last.done])
