"""The writer's queue: what is kept, what is let go, and what all that costs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.errors import StoreUnavailable
from service.writer import Rows, Write, Writer

pytestmark = pytest.mark.anyio


class Disk:
    """Takes what is written, unless it is full; counts the tries."""

    def __init__(self) -> None:
        self.full = False
        self.tries = 0

    async def __call__(self, rows: Rows, released: list[str]) -> None:
        self.tries += 1
        if self.full:
            raise StoreUnavailable("the disk is full")


@asynccontextmanager
async def running(disk: Disk) -> AsyncIterator[Writer]:
    writer = Writer(disk)
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


async def flushed(writer: Writer) -> None:
    """Once all that is queued was tried."""
    last = Write({}, "", None)
    writer.put(last)
    await asyncio.wait([last.done])
