"""Queue the store's writes; one task commits all that wait in one transaction.

The queue is first in, first out: once a ranking is durable, so are the verdicts that it rests on.
Calls are paid, so they are kept while the database is away. A write is:

    queued ──► committed
       ├─────► failed      its calls are not durable, or the database did not take it
       └─────► kept ──► committed
                 └────► failed      too old, too many are kept, or the store closes

Only calls and releases of claims are kept. A release waits for the kept calls of its key: the next
holder of the claim would not find them, and would pay for them again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from operator import itemgetter
from time import monotonic
from typing import Any

import sqlalchemy as sa
import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.database.database import Row, Rows
from podium_service.store.database.engine import one_line
from podium_service.store.database.tables import ASKS, CALLS, PAST_GROUPS, TEXTS

_RETRY_S = 0.5
_MAX_KEPT_CALLS = 10_000
# Passes of the event loop within which a group puts its last call, what it told, the release of its
# claim and its ranking. One commit then holds them all.
_PASSES_OF_A_GROUP = 10

log = structlog.get_logger(__name__)


# The tables in the order in which they are written, with the primary key of a row.
_PRIMARY_KEY: dict[sa.Table, Callable[[Row], Any]] = {
    table: itemgetter(*(column.name for column in table.primary_key))
    for table in (TEXTS, CALLS, PAST_GROUPS, ASKS)
}


@dataclass(slots=True, eq=False)
class Write:
    """Rows that must be committed together.

    Attributes:
        pass_index: the pass of a judge call; None for any other write.
        rests_on: the content keys whose calls must be durable before.
        releases: whether the claim on the key ends with this write.
        put_at: when it was queued, by the monotonic clock.
        done: tells when it is durable, or why it will not be.
    """

    rows: Rows
    key: str
    pass_index: int | None
    rests_on: tuple[str, ...] = ()
    releases: bool = False
    put_at: float = field(default_factory=monotonic)
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, failure: StoreUnavailable | None) -> None:
        """Tell the waiter, unless it was cancelled."""
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


class WriteQueue:
    """Takes writes at once and commits them in turn.

    Args:
        commit: takes rows, and the keys whose claims are released with them, in one transaction; it
            raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, commit: Callable[[Rows, list[str]], Awaitable[None]]) -> None:
        self._commit_rows = commit
        self._queue: asyncio.Queue[Write | None] = asyncio.Queue()
        self._kept: list[Write] = []
        self._lost: set[tuple[str, int]] = set()  # key and pass of calls that could not be written
        self.keep_s = 120.0  # how long a call is kept while the database is away
        self.closed = False

    def put(self, write: Write) -> None:
        """Queue a write; its `done` tells when it is durable, or why it will not be."""
        write.done.add_done_callback(_mark_retrieved)
        if self.closed:
            error = StoreUnavailable("the store is closed: restart the service")
            if write.pass_index is not None:
                log.error("store_calls_lost", calls=1, detail=str(error))
            write.settle(error)
        else:
            self._queue.put_nowait(write)

    def forget_lost(self, calls: Iterable[tuple[str, int]]) -> None:
        """Take note that these calls, by key and pass, were found in the database after all."""
        self._lost.difference_update(calls)

    async def run(self) -> None:
        """Commit queued writes until told to stop, and then those queued during the last commit."""
        closing = False
        try:
            while not closing or self._queue.qsize():
                writes = await self._next()
                closing = closing or None in writes
                await self._commit_kept(closing=closing)
                await self._commit([write for write in writes if write])
        finally:
            self.closed = True
            await self._commit([write for write in self._drain() if write])
            await self._commit_kept(closing=True)

    def stop(self) -> None:
        """Have `run` return once all that is queued is committed."""
        self._queue.put_nowait(None)

    async def _next(self) -> list[Write | None]:
        """Wait for a write and return all that are queued; none if it is time to retry."""
        patience_s = _RETRY_S if self._kept else None
        try:
            async with asyncio.timeout(patience_s):
                writes = [await self._queue.get()]
        except TimeoutError:
            return []
        for _ in range(_PASSES_OF_A_GROUP):
            await asyncio.sleep(0)
        return writes + self._drain()

    def _drain(self) -> list[Write | None]:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    async def _commit(self, writes: Sequence[Write]) -> None:
        """Commit queued writes, but those that depend on calls which are not durable."""
        calls = _calls(writes)
        kept_keys = {key for key, _ in _calls(self._kept)}
        missing_keys = kept_keys | {key for key, _ in self._lost - calls}
        ready: list[Write] = []
        for write in writes:
            if write.releases and write.key in kept_keys:
                self._kept.append(write)
            elif not missing_keys.isdisjoint(write.rests_on):
                write.settle(StoreUnavailable("verdicts could not be written: ask again"))
            else:
                ready.append(write)
        failure = await self._try_commit(ready) if ready else None
        if failure:
            log.error("store_write_failed", writes=len(ready), detail=str(failure))
        else:
            self._lost -= calls
        for write in ready:
            if failure and (write.pass_index is not None or write.releases):
                self._kept.append(write)
            else:
                write.settle(failure)

    async def _commit_kept(self, *, closing: bool) -> None:
        """Try kept writes again; on failure give up old ones and any excess, at the end all."""
        if not self._kept:
            return
        failure = await self._try_commit(self._kept)
        oldest = inf if closing else monotonic() - self.keep_s
        calls = [write for write in self._kept if write.pass_index is not None]
        still_kept = {write for write in calls[-_MAX_KEPT_CALLS:] if write.put_at >= oldest}
        keys = {write.key for write in still_kept}
        kept, self._kept = self._kept, []
        ended: list[Write] = []
        for write in kept:
            is_kept = write in still_kept or (write.releases and write.key in keys)
            (self._kept if failure and is_kept else ended).append(write)
        if failure and (lost := _calls(ended)):
            self._lost |= lost
            log.error("store_calls_lost", calls=len(lost), detail=str(failure))
        for write in ended:
            write.settle(failure)

    async def _try_commit(self, writes: Sequence[Write]) -> StoreUnavailable | None:
        """Commit all in one transaction; return the error if that failed."""
        released = [write.key for write in writes if write.releases]
        try:
            await self._commit_rows(_merge_rows(writes), released)
        except StoreUnavailable as error:
            return error
        except Exception as error:  # noqa: BLE001 - the queue must outlive any one write
            return StoreUnavailable(f"the store cannot write ({one_line(error)})")
        return None


def _merge_rows(writes: Sequence[Write]) -> Rows:
    """Return the rows of all writes by table, each row once, without empty tables.

    Tables and rows have one order everywhere, because two processes that write the same rows would
    otherwise wait for each other. It also keeps the rows of a key together on the disk.
    """
    merged: dict[sa.Table, dict[Any, Row]] = {}
    for write in writes:
        for table, rows in write.rows.items():
            by_key = merged.setdefault(table, {})
            for row in rows:
                by_key.setdefault(_PRIMARY_KEY[table](row), row)
    return {
        table: [merged[table][key] for key in sorted(merged[table])]
        for table in _PRIMARY_KEY
        if merged.get(table)
    }


def _calls(writes: Iterable[Write]) -> set[tuple[str, int]]:
    """Return key and pass of each judge call."""
    return {(write.key, write.pass_index) for write in writes if write.pass_index is not None}


def _mark_retrieved(future: asyncio.Future[None]) -> None:
    """Mark a failure as retrieved, because it was logged and calls have no waiter."""
    if not future.cancelled():
        future.exception()
