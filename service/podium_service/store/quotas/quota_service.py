"""Exact quotas that all processes of one store share: requests, tokens and money, by account.

What is asked at the same moment shares one transaction, under the locks of its rows: 100 at once
against a limit of N have exactly N pass, over any number of processes. Nothing here costs an
account without limits anything: it never comes.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.database.batching import Batcher
from podium_service.store.database.database import CommitUnsure
from podium_service.store.database.executor import ThreadExecutor
from podium_service.store.quotas import rules
from podium_service.store.quotas.quota_rows import (
    Count,
    GiveBack,
    Operation,
    QuotaRows,
    Reserve,
    Settle,
    Take,
)
from podium_service.store.quotas.spend import SpendAccount

_RETRY_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountSpending:
    """Of one account in one period, US dollars."""

    settled: float
    reserved: float


class QuotaService:
    """The quotas of one store."""

    def __init__(self, accounts: QuotaRows, in_thread: ThreadExecutor) -> None:
        self._accounts = accounts
        self._in_thread = in_thread
        self._batched: Batcher[Operation, None] = Batcher(self._run)
        self._refused: dict[tuple[str, int, float], float] = {}
        self._settling: set[asyncio.Future[None]] = set()
        self._retrying: dict[Settle, asyncio.TimerHandle] = {}
        self._closing = False

    async def count(self, account: str, limit: int, window_s: float = 60.0) -> float:
        """Count one request against a limit; a window starts with its first request.

        Returns:
            0.0 if it passes, else the seconds until the window ends.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        asked = (account, limit, window_s)
        left = self._refused.get(asked, 0.0) - monotonic()
        if left > 0:
            return left
        counting = Count(account, limit, window_s)
        await self._batched.put(counting)
        if counting.wait_s:
            self._refused[asked] = monotonic() + counting.wait_s
        else:
            self._refused.pop(asked, None)
        return counting.wait_s

    async def take(self, account: str, per_minute: float, amount: float) -> float:
        """Take an amount (requests, tokens) from a bucket into which so much flows a minute.

        Returns:
            0.0 if it was there, else the seconds until it has flowed in. It is taken either way:
            whoever does not wait for it gives it back.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        taking = Take(account, per_minute, amount)

        def undo() -> None:
            self.give_back(account, per_minute, amount)

        await _undone_if_left(self._batched.put(taking), undo)
        return taking.wait_s

    def give_back(self, account: str, per_minute: float, amount: float) -> None:
        """Correct what was taken by an estimate: so much was too much, or too little if negative.
        Where the store does not take it, the bucket is wrong for at most some seconds."""
        self._batched.put(GiveBack(account, per_minute, amount)).add_done_callback(_retrieved)

    async def reserve(
        self, holds: Sequence[SpendAccount], usd: float, *, at: float
    ) -> SpendAccount | None:
        """Reserve a worst case on all holds or on none, before it is spent.

        What is reserved by a process that is killed stays so until the period ends: it may have
        been paid.

        Args:
            holds: whose limits it must fit.
            usd: the worst case, US dollars.
            at: the moment, seconds since the epoch; to be given to `settle`, too.

        Returns:
            The first hold that has no room, else None.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        reserving = Reserve(_named(holds, at), rules.micro_dollars(usd))

        def undo() -> None:
            if reserving.refused is None:
                self.settle(holds, usd, 0.0, at=at)

        await _undone_if_left(self._batched.put(reserving), undo)
        return reserving.refused

    def settle(
        self, holds: Sequence[SpendAccount], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None:
        """Turn what was reserved at that moment into what was spent. It is queued, and asked again
        while the store is away, until `close` gives up."""
        micros = rules.micro_dollars(reserved_usd), rules.micro_dollars(spent_usd)
        self._settle(Settle([name for name, _ in _named(holds, at)], *micros))

    async def read_spending(
        self, holds: Iterable[SpendAccount], *, at: float
    ) -> dict[SpendAccount, AccountSpending]:
        """What was spent on each account in its period around a moment.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        named = _named(holds, at)
        names = sorted({name for name, _ in named})
        found = await self._in_thread(lambda: self._accounts.spending(names))
        return {
            hold: AccountSpending(
                rules.dollars(found[name].settled), rules.dollars(found[name].reserved)
            )
            for name, hold in named
        }

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete windows, buckets and periods that are over for so long, a day at least; counts by
        table. A running period stays, and what has no end.

        Raises:
            StoreUnavailable: If the database does not take it.
        """
        return await self._in_thread(lambda: self._accounts.prune(older_than_s))

    async def close(self) -> None:
        """Return once all is settled; what the store does not take now stays reserved."""
        await self._all_settled()
        self._closing = True
        for settling, timer in list(self._retrying.items()):
            timer.cancel()
            self._settle(settling)
        await self._all_settled()

    async def _all_settled(self) -> None:
        while self._settling:
            await asyncio.wait(self._settling)

    def _settle(self, settling: Settle) -> None:
        self._retrying.pop(settling, None)
        future = self._batched.put(settling)
        self._settling.add(future)
        future.add_done_callback(lambda future: self._settled(settling, future))

    def _settled(self, settling: Settle, future: asyncio.Future[None]) -> None:
        self._settling.discard(future)
        if not _retrieved(future):
            return
        error = None if future.cancelled() else future.exception()
        # A commit that may have gone through is not made again: better reserved than spent twice.
        away = isinstance(error, StoreUnavailable) and not isinstance(error.__cause__, CommitUnsure)
        if away and not self._closing:
            later = asyncio.get_running_loop().call_later
            self._retrying[settling] = later(_RETRY_S, self._settle, settling)
        else:
            log.error("spending_stays_reserved", accounts=settling.names, detail=str(error))

    async def _run(self, operations: list[Operation]) -> Sequence[Exception | None]:
        """What became of each: one that cannot be, an amount that no row holds, fails alone."""
        try:
            await self._in_thread(lambda: self._accounts.apply(operations))
        except Exception as error:  # noqa: BLE001 - each waiter is given its own
            if isinstance(error, StoreUnavailable) or len(operations) == 1:
                return [error] * len(operations)
            half = len(operations) // 2
            return [*await self._run(operations[:half]), *await self._run(operations[half:])]
        return [None] * len(operations)


def _named(holds: Iterable[SpendAccount], at: float) -> list[tuple[str, SpendAccount]]:
    """Each hold with the name of its row."""
    return [(rules.period_name(hold.account, hold.per, at), hold) for hold in holds]


async def _undone_if_left(change: asyncio.Future[None], undo: Callable[[], None]) -> None:
    """Wait for a change; if the waiter leaves first, undo it once it is made."""
    try:
        await asyncio.shield(change)
    except asyncio.CancelledError:
        change.add_done_callback(lambda done: None if _retrieved(done) else undo())
        raise


def _retrieved(future: asyncio.Future[None]) -> bool:
    """Whether it failed; its error counts as seen, though nobody waits."""
    return future.cancelled() or future.exception() is not None
