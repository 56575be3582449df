"""Count requests, tokens and money exactly, over all processes that share one store.

Operations that arrive at the same moment share one transaction, under the locks of their rows: of
100 simultaneous requests against a limit of N exactly N pass, over any number of processes. An
account without limits costs nothing, because it is never passed to this service.

    reserve ──► (call) ──► settle ──► settled
                              │ ▲
          the store is away   ▼ │ every second, until `close` gives up
                             retry
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.database.batching import Batcher
from podium_service.store.database.database import CommitUnsure, Database
from podium_service.store.database.tables import BUCKETS, SPENDING, WINDOWS
from podium_service.store.quotas import rules
from podium_service.store.quotas.quota_rows import Operation, QuotaRows, Rows
from podium_service.store.quotas.rules import MICRO
from podium_service.store.quotas.spend import SpendAccount

_RETRY_S = 1.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountSpending:
    """The US dollars that one account has spent and reserved in one period."""

    settled: float
    reserved: float


class QuotaService:
    """The quotas of one store.

    Each method that waits raises StoreUnavailable if the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._rows = QuotaRows(database)
        self._run = database.run
        self._batcher: Batcher[Operation, Any] = Batcher(self._apply)
        self._refused_until: dict[tuple[str, int, float], float] = {}
        self._pending: set[asyncio.Future[Any]] = set()
        self._retries: dict[Operation, asyncio.TimerHandle] = {}
        self._closing = False

    async def count(self, account: str, limit: int, window_s: float = 60.0) -> float:
        """Count one request against a limit; a window starts with its first request.

        Returns:
            0.0 if it passes, else the seconds until the window ends.
        """
        window = (account, limit, window_s)
        left_s = self._refused_until.get(window, 0.0) - monotonic()
        if left_s > 0:
            return left_s

        def change(rows: Rows, now: float) -> float:
            rows[account], wait_s = rules.count(rows[account], limit, window_s, now)
            return wait_s

        wait_s: float = await self._batcher.put(Operation(WINDOWS, [account], change))
        if wait_s:
            self._refused_until[window] = monotonic() + wait_s
        else:
            self._refused_until.pop(window, None)
        return wait_s

    async def take(self, account: str, per_minute: float, amount: float) -> float:
        """Take an amount (requests, tokens) from a bucket into which so much flows a minute.

        Returns:
            0.0 if it was there, else the seconds until it has flowed in. It is taken either way: a
            caller that does not wait for it must give it back.
        """

        def change(rows: Rows, now: float) -> float:
            rows[account], wait_s = rules.take(rows[account], per_minute, amount, now)
            return wait_s

        taking = self._batcher.put(Operation(BUCKETS, [account], change))
        return await _undo_if_cancelled(
            taking, lambda wait_s: self.give_back(account, per_minute, amount)
        )

    def give_back(self, account: str, per_minute: float, amount: float) -> None:
        """Return what an estimate took in excess; a negative amount takes more.

        If the store does not take the correction, the bucket is wrong for at most some seconds.
        """

        def change(rows: Rows, now: float) -> None:
            rows[account] = rules.give_back(rows[account], per_minute, amount, now)

        future = self._batcher.put(Operation(BUCKETS, [account], change))
        future.add_done_callback(_has_failed)

    async def reserve(
        self, accounts: Sequence[SpendAccount], usd: float, *, at: float
    ) -> SpendAccount | None:
        """Reserve a worst case on all accounts or on none, before it is spent.

        The reservation of a process that is killed stays until the period ends, because it may have
        been paid.

        Args:
            usd: the worst case, US dollars.
            at: the moment, seconds since the epoch; `settle` needs the same one.

        Returns:
            The first account that has no room for it, else None.
        """
        named, micro = _with_row_names(accounts, at), rules.micro_dollars(usd)

        def change(rows: Rows, now: float) -> SpendAccount | None:
            reserved = {name: rows[name] for name, _ in named}
            for name, account in named:
                reserved[name] = rules.reserve(reserved[name], account.limit_usd, micro)
                if reserved[name] is None:
                    return account
            rows.update(reserved)
            return None

        def undo(refused: SpendAccount | None) -> None:
            if refused is None:
                self.settle(accounts, usd, 0.0, at=at)

        reserving = self._batcher.put(Operation(SPENDING, [name for name, _ in named], change))
        return await _undo_if_cancelled(reserving, undo)

    def settle(
        self, accounts: Sequence[SpendAccount], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None:
        """Queue turning what was reserved at that moment into what was spent.

        It is tried again while the store is away, until `close` gives up.
        """
        names = [name for name, _ in _with_row_names(accounts, at)]
        reserved, spent = rules.micro_dollars(reserved_usd), rules.micro_dollars(spent_usd)

        def change(rows: Rows, now: float) -> None:
            for name in names:
                rows[name] = rules.settle(rows[name], reserved, spent)

        self._put_settle(Operation(SPENDING, names, change))

    async def read_spending(
        self, accounts: Iterable[SpendAccount], *, at: float
    ) -> dict[SpendAccount, AccountSpending]:
        """Return the spending of each account in its period around a moment."""
        named = _with_row_names(accounts, at)
        rows = await self._run(lambda: self._rows.read_spending([name for name, _ in named]))
        return {
            account: AccountSpending(rows[name].settled / MICRO, rows[name].reserved / MICRO)
            for name, account in named
        }

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete windows, buckets and periods that ended so long ago; return counts by table.

        A row is kept for a day at least. A running period stays, and so does a total.
        """
        return await self._run(lambda: self._rows.prune(older_than_s))

    async def close(self) -> None:
        """Settle all that is queued; an amount that the store does not take now stays reserved."""
        await self._wait_for_pending()
        self._closing = True
        for operation, timer in list(self._retries.items()):
            timer.cancel()
            self._put_settle(operation)
        await self._wait_for_pending()

    async def _wait_for_pending(self) -> None:
        while self._pending:
            await asyncio.wait(self._pending)

    def _put_settle(self, operation: Operation) -> None:
        self._retries.pop(operation, None)
        future = self._batcher.put(operation)
        self._pending.add(future)
        future.add_done_callback(lambda future: self._finish_settle(operation, future))

    def _finish_settle(self, operation: Operation, future: asyncio.Future[Any]) -> None:
        """Try again later if the store is away."""
        self._pending.discard(future)
        if not _has_failed(future):
            return
        error = None if future.cancelled() else future.exception()
        # A commit that may have gone through is not repeated: an amount that stays reserved is
        # better than one that is settled twice.
        is_unsure = error is not None and isinstance(error.__cause__, CommitUnsure)
        if isinstance(error, StoreUnavailable) and not is_unsure and not self._closing:
            later = asyncio.get_running_loop().call_later
            self._retries[operation] = later(_RETRY_S, self._put_settle, operation)
        else:
            log.error("spending_stays_reserved", accounts=operation.names, detail=str(error))

    async def _apply(self, operations: list[Operation]) -> list[Any]:
        """Apply a batch; an operation that cannot be applied, such as an overflow, fails alone."""
        try:
            return await self._run(lambda: self._rows.apply(operations))
        except Exception as error:  # noqa: BLE001 - each waiter gets the error of its operation
            if isinstance(error, StoreUnavailable) or len(operations) == 1:
                return [error] * len(operations)
            half = len(operations) // 2
            return [*await self._apply(operations[:half]), *await self._apply(operations[half:])]


def _with_row_names(accounts: Iterable[SpendAccount], at: float) -> list[tuple[str, SpendAccount]]:
    return [(rules.period_name(account.name, account.per, at), account) for account in accounts]


async def _undo_if_cancelled(change: asyncio.Future[T], undo: Callable[[T], None]) -> T:
    """Return a change's result; if the waiter is cancelled first, undo the change once made."""
    try:
        return await asyncio.shield(change)
    except asyncio.CancelledError:
        change.add_done_callback(lambda done: None if _has_failed(done) else undo(done.result()))
        raise


def _has_failed(future: asyncio.Future[Any]) -> bool:
    """Return whether it failed, and mark its error as retrieved, because nobody awaits it."""
    return future.cancelled() or future.exception() is not None
