"""Single flight over processes: who asks about a content key holds its claim meanwhile.

A claim is a row. Every process that has any tells every few seconds that it lives; the claims of
one that has not been seen for a while are swept away by the others. Moments are the database's.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic

from service.batched import Batched
from service.claim_rows import ClaimRows
from service.errors import StoreUnavailable
from service.in_thread import InThread
from service.writer import Write, Writer

_POLL_S = (0.05, 1.0)  # first and longest pause of one who waits for another's claim


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
        in_thread: InThread,
        writer: Writer,
        *,
        beat_s: float,
        dead_after_s: float,
    ) -> None:
        self._rows = rows
        self._in_thread = in_thread
        self._writer = writer
        self._beat_s = beat_s
        self._dead_after_s = dead_after_s
        self._taking: Batched[str, bool] = Batched(self._take_all)
        self._polling: Batched[str, bool] = Batched(self._are_free)
        self._here: set[str] = set()  # held or being taken by this process
        self._left: set[str] = set()  # given up, and still there: the release was not written
        self._beating: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def held(self, key: str) -> AsyncIterator[None]:
        """Wait for the claim on a key, and hold it. Whoever takes it next will see all that was
        handed to the writer meanwhile.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        pause_s, longest_s = _POLL_S
        while not await self._take(key):
            free = False
            while not free:
                await asyncio.sleep(pause_s)
                pause_s = min(longest_s, 1.5 * pause_s)
                free = await self._polling.put(key)
        try:
            yield
        finally:
            self._release(key)

    async def close(self) -> None:
        """Leave nothing behind; call it once the writer has written all."""
        if self._beating:
            self._beating.cancel()
            with suppress(StoreUnavailable):  # then the others will find us dead
                await self._in_thread(self._rows.leave)

    async def _take(self, key: str) -> bool:
        """Whether the claim is ours now; a flight of our own that is about to end has it, too."""
        if key in self._here:
            return False
        self._here.add(key)
        self._beating = self._beating or asyncio.create_task(self._beat())
        taking = self._taking.put(key)
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(partial(self._taken_for_nobody, key))
            raise
        except StoreUnavailable:
            self._here.discard(key)
            raise
        if not taken:
            self._here.discard(key)
        return taken

    def _taken_for_nobody(self, key: str, taking: asyncio.Future[bool]) -> None:
        if not taking.cancelled() and not taking.exception() and taking.result():
            self._release(key)
        else:
            self._here.discard(key)

    def _release(self, key: str) -> None:
        """Once all that is queued is written."""
        self._here.discard(key)
        write = Write({}, key, None, releases=True)
        self._writer.put(write)
        write.done.add_done_callback(partial(self._released, key))

    def _released(self, key: str, done: asyncio.Future[None]) -> None:
        if done.cancelled() or done.exception():
            self._left.add(key)

    async def _take_all(self, keys: list[str]) -> Sequence[bool]:
        taken = await self._in_thread(lambda: self._rows.take(keys))
        return [key in taken for key in keys]

    async def _are_free(self, keys: list[str]) -> Sequence[bool]:
        claimed = await self._in_thread(lambda: self._rows.claimed(keys))
        return [key not in claimed for key in keys]

    async def _beat(self) -> None:
        """Say that we live, and sweep away what the dead have left.

        Who has been cut off itself sweeps only after a while: the others may have been, too.
        """
        seen_at, cut_off_until = monotonic(), 0.0
        while True:
            await asyncio.sleep(self._beat_s)
            left = {key for key in self._left if key not in self._here}
            dead_after_s = self._dead_after_s if monotonic() >= cut_off_until else None
            with suppress(StoreUnavailable):
                await self._in_thread(partial(self._rows.beat, left, dead_after_s))
                self._left -= left
                if monotonic() - seen_at > self._dead_after_s / 2:
                    cut_off_until = monotonic() + self._dead_after_s
                seen_at = monotonic()
