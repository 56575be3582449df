"""Single flight over processes: who asks about a content key holds its claim meanwhile.

A claim is a row. Every process that has any tells every few seconds that it lives; the claims of
one that has not been seen for a while are swept away by the others. Moments are the database's.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.claims.claim_rows import ClaimRows
from podium_service.store.database.batching import Batcher
from podium_service.store.database.database import KeyRows
from podium_service.store.database.engine import one_line
from podium_service.store.database.executor import ThreadExecutor
from podium_service.store.write_queue import WriteQueue
from podium_service.store.writes import Write

_POLL_S = (0.05, 1.0)  # first and longest pause of one who waits for another's claim

log = structlog.get_logger(__name__)


class Claims:
    """The claims of one process.

    Args:
        rows: where all claims are.
        in_thread: runs what the database is asked.
        writer: releases a claim after all that was written before.
        beat_s: how often the process says that it lives.
        dead_after_s: how long it may be silent.
    """

    def __init__(
        self,
        rows: ClaimRows,
        in_thread: ThreadExecutor,
        writer: WriteQueue,
        *,
        beat_s: float,
        dead_after_s: float,
    ) -> None:
        self._rows = rows
        self._in_thread = in_thread
        self._writer = writer
        self._beat_s = beat_s
        self._dead_after_s = dead_after_s
        self._opening: Batcher[str, tuple[KeyRows, bool]] = Batcher(self._open_all)
        self._polling: Batcher[str, bool] = Batcher(self._are_free)
        # Held, being taken or being given up by this process: if somebody here took one meanwhile,
        # that claim would be given up, too.
        self._here: set[str] = set()
        self._left: set[str] = set()  # given up, and perhaps still there: a commit failed
        self._beating: asyncio.Task[None] | None = None
        self._beat_now: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def held(self, key: str) -> AsyncIterator[KeyRows]:
        """Wait for the claim on a key and hold it, unless all that was wanted of it is there.
        Whoever opens it next finds what is handed to the writer meanwhile.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        pause_s, longest_s = _POLL_S
        while not (opened := await self._open(key)):
            free = False
            while not free:
                await asyncio.sleep(pause_s)
                pause_s = min(longest_s, 1.5 * pause_s)
                free = await self._polling.put(key)
        found, is_held = opened
        try:
            yield found
        finally:
            if is_held:
                self._release(key)

    async def close(self) -> None:
        """Leave nothing behind; call it once the writer has written all."""
        if self._beating:
            self._beating.cancel()
            if self._beat_now:  # in its thread it goes on, and would have us live again
                await asyncio.wait([self._beat_now])
            with suppress(StoreUnavailable):  # then the others will find us dead
                await self._in_thread(self._rows.leave)

    async def _open(self, key: str) -> tuple[KeyRows, bool] | None:
        """What is there, and whether we hold the claim; None if another flight does: in another
        process, or one of our own that is about to end."""
        if key in self._here:
            return None
        self._here.add(key)
        self._beating = self._beating or asyncio.create_task(self._beat())
        opening = self._opening.put(key)
        opening.add_done_callback(partial(self._opened, key))
        try:
            found, is_held = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(partial(self._opened_for_nobody, key))
            raise
        return (found, is_held) if is_held or found.complete else None

    def _opened(self, key: str, opening: asyncio.Future[tuple[KeyRows, bool]]) -> None:
        """Whatever went wrong, the claim may be there: perhaps only the answer was lost."""
        if opening.cancelled() or opening.exception():
            self._here.discard(key)
            self._left.add(key)
        elif not opening.result()[1]:
            self._here.discard(key)

    def _opened_for_nobody(self, key: str, opening: asyncio.Future[tuple[KeyRows, bool]]) -> None:
        if not opening.cancelled() and not opening.exception() and opening.result()[1]:
            self._release(key)

    def _release(self, key: str) -> None:
        """Once all that is queued is written."""
        write = Write({}, key, None, releases=True)
        self._writer.put(write)
        write.done.add_done_callback(partial(self._released, key))

    def _released(self, key: str, done: asyncio.Future[None]) -> None:
        self._here.discard(key)
        if done.cancelled() or done.exception():
            self._left.add(key)

    async def _open_all(self, keys: list[str]) -> Sequence[tuple[KeyRows, bool]]:
        opened = await self._in_thread(lambda: self._rows.open(keys))
        return [opened[key] for key in keys]

    async def _are_free(self, keys: list[str]) -> Sequence[bool]:
        claimed = await self._in_thread(lambda: self._rows.claimed(keys))
        return [key not in claimed for key in keys]

    async def _beat(self) -> None:
        """Say that we live, give up what we have left, and sweep away what the dead have."""
        while True:
            await asyncio.sleep(self._beat_s)
            left = self._left - self._here
            self._here |= left
            try:
                beat = partial(self._rows.beat, left, self._dead_after_s)
                self._beat_now = asyncio.ensure_future(self._in_thread(beat))
                await asyncio.shield(self._beat_now)
                self._left -= left
            except StoreUnavailable:
                pass  # until it is back
            except Exception as error:  # noqa: BLE001 - who does not beat counts as dead
                log.error("store_beat_failed", detail=one_line(error))
            finally:
                self._here -= left
