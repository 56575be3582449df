"""Writes, queued and committed in groups by one task, so that many requests share a commit.

The queue is first in, first out: once a ranking is durable, so are the verdicts it rests on. Calls
are paid: while the database is away they are kept, and written once it is back.
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
from podium_service.store.database.database import Row
from podium_service.store.database.engine import one_line
from podium_service.store.database.tables import CALLS, PAST_GROUPS, RANKINGS, TEXTS

_RETRY_S = 0.5
_MOST_KEPT = 10_000

Rows = dict[sa.Table, list[Row]]

# What is written, in this order, and the primary key of a row.
_KEY: dict[sa.Table, Callable[[Row], Any]] = {
    table: itemgetter(*(column.name for column in table.primary_key))
    for table in (TEXTS, CALLS, PAST_GROUPS, RANKINGS)
}

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Write:
    """Rows that must be committed together: a call's, of one pass, or a ranking's (None), which
    rests on the calls of some keys; or the end of a claim."""

    rows: Rows
    key: str
    pass_index: int | None
    rests_on: tuple[str, ...] = ()
    releases: bool = False
    put_at: float = field(default_factory=monotonic)
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class WriteQueue:
    """Takes writes at once and commits them in turn; `insert`, which is given rows and the keys
    whose claims end with them, raises StoreUnavailable."""

    def __init__(self, insert: Callable[[Rows, list[str]], Awaitable[None]]) -> None:
        self._insert = insert
        self._queue: asyncio.Queue[Write | None] = asyncio.Queue()
        self._kept: list[Write] = []  # calls and ends of claims, until the database is back
        self._lost: set[tuple[str, int]] = set()  # passes by key, whose calls could not be written
        self.keep_s = 120.0  # how long calls wait for a database that is away
        self.closed = False

    def put(self, write: Write) -> None:
        """Queue a write; its `done` tells when it is durable, or why it will not be."""
        write.done.add_done_callback(_retrieved)
        if self.closed:
            closed = StoreUnavailable("the store is closed: restart the service")
            if write.pass_index is not None:
                log.error("store_calls_lost", calls=1, detail=str(closed))
            write.done.set_exception(closed)
            return
        self._queue.put_nowait(write)

    def found(self, calls: Iterable[tuple[str, int]]) -> None:
        """These passes, by key, are there after all."""
        self._lost.difference_update(calls)

    async def run(self) -> None:
        """Commit queued writes, all that are waiting in one transaction, until told to stop; what
        is put during the last commit has one more."""
        closing = False
        try:
            while not closing or self._queue.qsize():
                writes = await self._next()
                closing = closing or None in writes
                await self._commit_kept(closing=closing)
                await self._commit([write for write in writes if write])
        finally:
            self.closed = True
            await self._commit([write for write in self._queued() if write])
            await self._commit_kept(closing=True)

    def stop(self) -> None:
        """Once all that is queued is committed."""
        self._queue.put_nowait(None)

    async def _next(self) -> list[Write | None]:
        """All that is queued; waits for the first, but not long if some are kept."""
        patience_s = _RETRY_S if self._kept else None
        try:
            async with asyncio.timeout(patience_s):
                writes = [await self._queue.get()]
        except TimeoutError:
            return []
        return writes + self._queued()

    def _queued(self) -> list[Write | None]:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    async def _commit(self, writes: Sequence[Write]) -> None:
        """Commit all writes, but for rankings whose calls are not written. The end of a claim waits
        for its calls: whoever is next would not find them, and pay for them again."""
        calls = _calls(writes)
        waited_for = {key for key, _ in _calls(self._kept)}
        missing = waited_for | {key for key, _ in self._lost - calls}
        behind, writes = _parted(writes, lambda each: each.releases and each.key in waited_for)
        self._kept += behind
        orphans, others = _parted(writes, lambda each: not missing.isdisjoint(each.rests_on))
        failure = await self._try(others) if others else None
        if failure:
            log.error("store_write_failed", writes=len(others), detail=str(failure))
            last, others = _parted(
                others, lambda each: each.pass_index is not None or each.releases
            )
            self._kept += last
        else:
            self._lost -= calls
        _settle(others, failure)
        _settle(orphans, StoreUnavailable("verdicts could not be written: ask again"))

    async def _commit_kept(self, *, closing: bool) -> None:
        """Try again what is kept; calls that are too old or too many, or left at the end, are lost,
        and the ends of claims that waited for them fail."""
        if not self._kept:
            return
        failure = await self._try(self._kept)
        if not failure:
            _settle(self._kept, None)
            self._kept = []
            return
        oldest = inf if closing else monotonic() - self.keep_s
        calls = [each for each in self._kept if each.pass_index is not None]
        young = {each for each in calls[-_MOST_KEPT:] if each.put_at >= oldest}
        waited_for = {each.key for each in young}
        self._kept, left = _parted(
            self._kept, lambda each: each in young or (each.releases and each.key in waited_for)
        )
        if lost := _calls(left):
            self._lost |= lost
            log.error("store_calls_lost", calls=len(lost), detail=str(failure))
        _settle(left, failure)

    async def _try(self, writes: Sequence[Write]) -> StoreUnavailable | None:
        """Insert all in one transaction; what went wrong, if anything did."""
        try:
            await self._insert(_together(writes), [each.key for each in writes if each.releases])
        except StoreUnavailable as error:
            return error
        except Exception as error:  # noqa: BLE001 - the writer must outlive any one write
            return StoreUnavailable(f"the store cannot write ({one_line(error)})")
        return None


def _calls(writes: Sequence[Write]) -> set[tuple[str, int]]:
    return {(write.key, write.pass_index) for write in writes if write.pass_index is not None}


def _parted(
    writes: Sequence[Write], belongs: Callable[[Write], bool]
) -> tuple[list[Write], list[Write]]:
    """Those that belong together, and the others."""
    parts: tuple[list[Write], list[Write]] = [], []
    for write in writes:
        parts[not belongs(write)].append(write)
    return parts


def _settle(writes: Sequence[Write], failure: StoreUnavailable | None) -> None:
    for write in writes:
        if write.done.done():  # its waiter was cancelled
            continue
        if failure:
            write.done.set_exception(failure)
        else:
            write.done.set_result(None)


def _together(writes: Sequence[Write]) -> Rows:
    """The rows of all writes, by table; a table without rows is left out, and so is what is there
    twice.

    Tables and rows are in one order everywhere: two processes that write the same ones would else
    wait for each other. It keeps neighbours together on the disk, too.
    """
    found: dict[sa.Table, dict[Any, Row]] = {}
    for write in writes:
        for table, some in write.rows.items():
            rows = found.setdefault(table, {})
            for row in some:
                rows.setdefault(_KEY[table](row), row)
    return {
        table: [found[table][key] for key in sorted(found[table])]
        for table in _KEY
        if found.get(table)
    }


def _retrieved(future: asyncio.Future[None]) -> None:
    """Mark a failure as seen: `_commit` has logged it, and calls are written without a waiter."""
    if not future.cancelled():
        future.exception()
