"""Let one process at a time ask about a content key: it holds the key's claim meanwhile.

A claim is a row. Every process with claims records a heartbeat every few seconds; the others expire
the claims of one that has been silent for too long. In the process that takes it, a claim is:

    free ──► taking ──► held ──► releasing ──► free
               │                     │
               └─── an error ────────┴──► unreleased ──► free, with the next heartbeat

After an error the row may be there or not, because perhaps only the answer was lost.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.claims.claim_rows import Claim, ClaimRows
from podium_service.store.database.batching import Batcher
from podium_service.store.database.database import KeyRows
from podium_service.store.database.engine import one_line
from podium_service.store.write_queue import Write, WriteQueue

_POLL_S = (0.05, 1.0)  # the first and the longest pause while another process holds a claim

log = structlog.get_logger(__name__)


class Claims:
    """The claims of one process; `expire_after_s` is how long a process may be silent."""

    def __init__(
        self, rows: ClaimRows, write_queue: WriteQueue, heartbeat_s: float, expire_after_s: float
    ) -> None:
        self._rows = rows
        self._run = rows.database.run
        self._write_queue = write_queue
        self._heartbeat_s = heartbeat_s
        self._expire_after_s = expire_after_s
        self._claim_batcher: Batcher[str, Claim] = Batcher(self._claim_all)
        self._free_batcher: Batcher[str, bool] = Batcher(self._are_free)
        # Taking, held or releasing. A key in here is not taken again, because the release of its
        # first claim would release the second one, too.
        self._active: set[str] = set()
        self._unreleased: set[str] = set()
        self._heartbeats: asyncio.Task[None] | None = None
        self._heartbeat: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[KeyRows]:
        """Wait for the claim on a key and hold it, unless the key's group is complete.

        The next holder reads what is put into the write queue meanwhile.
        """
        pause_s, longest_s = _POLL_S
        while not (claim := await self._claim(key)):
            is_free = False
            while not is_free:
                await asyncio.sleep(pause_s)
                pause_s = min(longest_s, 1.5 * pause_s)
                is_free = await self._free_batcher.put(key)
        try:
            yield claim.rows
        finally:
            if claim.is_held:
                self._release(key)

    async def close(self) -> None:
        """Release all claims; call it once the write queue has written all."""
        if not self._heartbeats:
            return
        self._heartbeats.cancel()
        if self._heartbeat:  # its thread goes on, and would write the owner row again
            await asyncio.wait([self._heartbeat])
        with suppress(StoreUnavailable):  # then the claims expire
            await self._run(self._rows.release_all)

    async def _claim(self, key: str) -> Claim | None:
        """Return the claim, or the rows of a complete group; None if another task holds it."""
        if key in self._active:
            return None
        self._active.add(key)
        self._heartbeats = self._heartbeats or asyncio.create_task(self._record_heartbeats())
        claiming = self._claim_batcher.put(key)
        claiming.add_done_callback(partial(self._finish_claim, key))
        try:
            claim = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(partial(self._release_unwanted, key))
            raise
        return claim if claim.is_held or claim.rows.complete else None

    def _finish_claim(self, key: str, claiming: asyncio.Future[Claim]) -> None:
        if claiming.cancelled() or claiming.exception():
            self._active.discard(key)
            self._unreleased.add(key)
        elif not claiming.result().is_held:
            self._active.discard(key)

    def _release_unwanted(self, key: str, claiming: asyncio.Future[Claim]) -> None:
        """Release a claim whose waiter was cancelled."""
        if not claiming.cancelled() and not claiming.exception() and claiming.result().is_held:
            self._release(key)

    def _release(self, key: str) -> None:
        """Release a claim once all that is queued is written."""
        write = Write({}, key, None, releases=True)
        self._write_queue.put(write)
        write.done.add_done_callback(partial(self._finish_release, key))

    def _finish_release(self, key: str, done: asyncio.Future[None]) -> None:
        self._active.discard(key)
        if done.cancelled() or done.exception():
            self._unreleased.add(key)

    async def _claim_all(self, keys: list[str]) -> Sequence[Claim]:
        claims = await self._run(lambda: self._rows.claim(keys))
        return [claims[key] for key in keys]

    async def _are_free(self, keys: list[str]) -> Sequence[bool]:
        claimed = await self._run(lambda: self._rows.find_claimed(keys))
        return [key not in claimed for key in keys]

    async def _record_heartbeats(self) -> None:
        """Record a heartbeat regularly, and release with it the claims whose release failed."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            unreleased = self._unreleased - self._active
            self._active |= unreleased
            try:
                heartbeat = partial(self._rows.heartbeat, unreleased, self._expire_after_s)
                self._heartbeat = asyncio.ensure_future(self._run(heartbeat))
                await asyncio.shield(self._heartbeat)
                self._unreleased -= unreleased
            except StoreUnavailable:
                pass  # the next heartbeat may reach the store
            except Exception as error:  # noqa: BLE001 - a process without heartbeats expires
                log.error("store_heartbeat_failed", detail=one_line(error))
            finally:
                self._active -= unreleased
