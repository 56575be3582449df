"""The write queue: which writes are committed, kept or failed while the database is away."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from podium_service.errors import StoreUnavailable
from podium_service.store.database.database import Rows
from podium_service.store.store import open_store
from podium_service.store.write_queue import Write, WriteQueue
from tests.fakes import until
from tests.service.helpers import VERDICT
from tests.service.store.helpers import KEY, OTHER_KEY, add_call, ask, ranking, read_verdicts

pytestmark = pytest.mark.anyio

FULL = "CREATE TRIGGER full BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


class Disk:
    """Takes writes, unless it is full, and only while it may."""

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
    """Run a write queue, and stop it at the end."""
    queue = WriteQueue(disk)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        queue.stop()
        await task


async def flush(queue: WriteQueue) -> None:
    """Return once each earlier write was tried."""
    last = Write({}, "", None)
    queue.put(last)
    await asyncio.wait([last.done])


async def test_10_000_kept_calls_do_not_delay_other_writes() -> None:
    disk = Disk()
    disk.full = True
    async with running(disk) as queue:
        calls = [Write({}, f"{index:064d}", 0) for index in range(10_000)]
        started = time.process_time()
        for batch in (calls, [Write({}, "", None)]):
            for write in batch:
                queue.put(write)
            await flush(queue)
        assert time.process_time() - started < 0.5  # a pass over all of them for each: 2 s
        disk.full = False
    assert all(write.done.exception() is None for write in calls)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_write_during_the_last_commit_is_settled(*, is_cancelled: bool) -> None:
    disk = Disk()
    disk.may_write.clear()
    queue = WriteQueue(disk)
    task = asyncio.create_task(queue.run())
    queue.put(Write({}, "a", 0))
    queue.stop()
    await disk.writing.wait()
    late = Write({}, "b", 0)
    queue.put(late)
    if is_cancelled:
        task.cancel()
    disk.may_write.set()
    await asyncio.wait([task])
    assert late.done.result() is None


async def test_a_call_after_the_end_is_logged_as_lost(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(Disk()) as queue:
        pass
    queue.put(Write({}, "a", 0))
    assert "store_calls_lost" in capsys.readouterr().out


@contextmanager
def without_table(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """Hide a table of a SQLite store, so that writes to it fail."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO hidden")
        yield database
        database.execute(f"ALTER TABLE hidden RENAME TO {table}")


async def test_a_failed_write_fails_its_ranking_and_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        with (
            without_table(path, "rankings"),
            pytest.raises(StoreUnavailable, match="no such table: rankings"),
        ):
            await store.add_ranking(ask(KEY))
        await store.add_ranking(ask(KEY))
        assert await store.read_ranking("rk_1")


async def test_calls_are_kept_until_the_database_is_back(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        with without_table(path, "calls"):
            add_call(store)
            await store.flush()  # the call is tried, and kept
            with pytest.raises(StoreUnavailable, match="verdicts could not be written"):
                await store.add_ranking(ask(KEY))
            await store.add_ranking(ask(OTHER_KEY, ranking("rk_2")))
            assert await store.read_ranking("rk_1") is None
        await store.add_ranking(ask(KEY))
        assert (await read_verdicts(store, KEY)).verdicts == {0: VERDICT}


async def test_kept_calls_are_written_without_a_later_write(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        with without_table(path, "calls"):
            add_call(store)
            await store.flush()
        with closing(sqlite3.connect(path)) as database:
            count = "SELECT count(*) FROM calls"
            await until(lambda: database.execute(count).fetchone() == (1,))


async def test_a_ranking_whose_calls_are_lost_fails(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        with without_table(path, "calls"):
            add_call(store)
            store.write_queue.keep_s = 0.0
            await store.flush()
            await store.flush()  # the call is tried again, and given up
        with pytest.raises(StoreUnavailable, match="verdicts could not be written"):
            await store.add_ranking(ask(KEY))
        assert await store.read_ranking("rk_1") is None
        add_call(store)  # the judge is asked again
        await store.add_ranking(ask(KEY))
        assert (await read_verdicts(store, KEY)).verdicts == {0: VERDICT}


async def test_a_claim_lasts_until_the_calls_under_it_are_written(tmp_path: Path) -> None:
    """A disk that is full for calls may have room for the release of a claim."""
    path = str(tmp_path / "podium.db")
    async with open_store(path, heartbeat_s=0.02) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            async with store.claim(KEY):
                database.execute(FULL)
                add_call(store)
                await store.flush()  # the call is tried, and kept
            await store.flush()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0), store.claim(KEY):
                    pass
            database.execute("DROP TRIGGER full")
        async with asyncio.timeout(5), store.claim(KEY) as stored:
            assert stored.verdicts == {0: VERDICT}


async def test_a_claim_ends_when_the_calls_under_it_are_given_up(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    async with open_store(path, heartbeat_s=0.02) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            async with store.claim(KEY), store.claim(OTHER_KEY):
                database.execute(FULL)
                add_call(store)
                await store.flush()
            store.write_queue.keep_s = 0.0
            async with asyncio.timeout(5), store.claim(KEY) as stored:
                assert not stored.calls
