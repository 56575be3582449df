"""The claims of one process: held once, and released whatever is cancelled or fails."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from threading import Event

import pytest

from podium_service.errors import StoreUnavailable
from podium_service.store.claims.claim_rows import Claim, ClaimRows
from podium_service.store.claims.claims import Claims
from podium_service.store.database.database import CommitUnsure, Database, Rows
from podium_service.store.database.tables import CLAIMS
from podium_service.store.migrations.schema import open_database
from podium_service.store.store import open_store
from podium_service.store.write_queue import WriteQueue
from tests.fakes import until
from tests.service.store.helpers import KEY, add_call, count_rows

pytestmark = pytest.mark.anyio


async def test_the_next_holder_reads_the_verdicts_of_the_last_one(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        num_calls = []

        async def ask(index: int) -> None:
            store = (one, other)[index % 2]
            async with store.claim(KEY) as stored:
                num_calls.append(stored.calls)
                add_call(store, KEY, index)

        await asyncio.gather(*(ask(index) for index in range(4)))
    assert num_calls == [0, 1, 2, 3]


async def test_a_waiter_cancelled_at_any_moment_holds_no_claim(url: str) -> None:
    async with open_store(url) as store:
        for turns in range(5):  # of the event loop: not started, queued, sent to the database
            entering = asyncio.create_task(store.claim(KEY).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            assert entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            async with asyncio.timeout(5), store.claim(KEY):
                assert await count_rows(url, CLAIMS) == 1


class FaultyRows(ClaimRows):
    """Raise an error on the first claim, before or after its commit; heartbeats need permission."""

    def __init__(self, database: Database, error: Exception, *, commits: bool) -> None:
        super().__init__(database)
        self.claim_error: Exception | None = error
        self.commits = commits
        self.heartbeat_error: Exception | None = None
        self.releasing: set[str] = set()
        self.may_heartbeat = Event()

    def claim(self, keys: Collection[str]) -> dict[str, Claim]:
        error, self.claim_error = self.claim_error, None
        claims = super().claim(keys) if self.commits or not error else {}
        if error:
            raise error
        return claims

    def heartbeat(self, unreleased: Collection[str], expire_after_s: float) -> None:
        error, self.heartbeat_error = self.heartbeat_error, None
        if error:
            raise error
        self.releasing |= set(unreleased)
        self.may_heartbeat.wait(10)
        super().heartbeat(unreleased, expire_after_s)
        self.releasing.clear()


@asynccontextmanager
async def faulty_claims(
    url: str, error: Exception, *, commits: bool
) -> AsyncIterator[tuple[FaultyRows, Claims]]:
    """Run the claims of a process whose first claim raises an error."""
    database = open_database(url)
    rows = FaultyRows(database, error, commits=commits)

    async def write(_: Rows, released: list[str]) -> None:
        with database.writing() as connection:
            rows.release(connection, released)

    async with running(rows, database, WriteQueue(write)) as claims:
        yield rows, claims
        rows.may_heartbeat.set()


@asynccontextmanager
async def running(rows: ClaimRows, database: Database, queue: WriteQueue) -> AsyncIterator[Claims]:
    """Run the claims of a process that records a heartbeat every 20 ms."""
    claims = Claims(rows, queue, 0.02, 10.0)
    writing = asyncio.create_task(queue.run())
    yield claims
    queue.stop()
    await writing
    await claims.close()
    database.close()


@pytest.mark.parametrize("error", [CommitUnsure("the server is gone"), RuntimeError("a bug")])
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_claim_whose_answer_is_lost_is_released(
    error: Exception, is_cancelled: bool, tmp_path: Path
) -> None:
    async with faulty_claims(str(tmp_path / "podium.db"), error, commits=True) as (rows, claims):
        rows.may_heartbeat.set()
        first = asyncio.create_task(claims.hold(KEY).__aenter__())
        if is_cancelled:
            await asyncio.sleep(0)
            first.cancel()
        with pytest.raises((StoreUnavailable, RuntimeError, asyncio.CancelledError)):
            await first
        async with asyncio.timeout(5), claims.hold(KEY):
            assert rows.claim_error is None
            assert rows.find_claimed([KEY])


async def test_a_claim_is_not_taken_while_it_is_released(tmp_path: Path) -> None:
    """The release of the first claim would release the second one, too."""
    error = CommitUnsure("the server is gone")
    async with faulty_claims(str(tmp_path / "podium.db"), error, commits=False) as (rows, claims):
        hold = claims.hold(KEY)
        with pytest.raises(StoreUnavailable):
            await hold.__aenter__()
        await until(lambda: KEY in rows.releasing)
        async with AsyncExitStack() as stack:
            taking = asyncio.create_task(stack.enter_async_context(claims.hold(KEY)))
            await asyncio.wait({taking}, timeout=0.2)
            rows.may_heartbeat.set()
            await taking
            await until(lambda: not rows.releasing)
            assert rows.find_claimed([KEY])


async def test_heartbeats_go_on_after_any_error(tmp_path: Path) -> None:
    error = CommitUnsure("the server is gone")
    async with faulty_claims(str(tmp_path / "podium.db"), error, commits=True) as (rows, claims):
        rows.heartbeat_error = RuntimeError("a bug")
        with pytest.raises(StoreUnavailable):
            await claims.hold(KEY).__aenter__()
        await until(lambda: rows.heartbeat_error is None)
        rows.may_heartbeat.set()
        await until(lambda: not rows.find_claimed([KEY]))  # the next heartbeat releases it


async def test_a_repeated_release_does_not_end_the_next_claim(tmp_path: Path) -> None:
    """The first commit goes through, and only its answer is lost."""
    database = open_database(str(tmp_path / "podium.db"))
    rows = ClaimRows(database)
    tries = 0

    async def write(_: Rows, released: list[str]) -> None:
        nonlocal tries
        with database.writing() as connection:
            rows.release(connection, released)
        tries += 1
        if tries == 1:
            raise StoreUnavailable("the server is gone")

    async with running(rows, database, WriteQueue(write)) as claims:
        async with claims.hold(KEY):
            pass
        async with asyncio.timeout(5), claims.hold(KEY):
            await until(lambda: tries == 2)
            assert rows.find_claimed([KEY])
