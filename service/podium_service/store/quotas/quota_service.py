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

import structlog

from podium_service.errors import StoreUnavailable
from podium_service.store.database.batching import Batcher
from podium_service.store.database.database import CommitUnsure
from podium_service.store.database.executor import ThreadExecutor
from podium_service.store.quotas import rules
from podium_service.store.quotas.operations import (
    Count,
    GiveBack,
    Operation,
    Reserve,
    Settle,
    Take,
)
from podium_service.store.quotas.quota_rows import QuotaRows
from podium_service.store.quotas.spend import SpendAccount

_RETRY_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccountSpending:
    """The US dollars that one account has spent and reserved in one period."""

    settled: float
    reserved: float


class QuotaService:
    """The quotas of one store."""

    def __init__(self, rows: QuotaRows, executor: ThreadExecutor) -> None:
        self._rows = rows
        self._executor = executor
        self._batcher: Batcher[Operation, None] = Batcher(self._apply)
        self._refused_until: dict[tuple[str, int, float], float] = {}
        self._pending: set[asyncio.Future[None]] = set()
        self._retries: dict[Settle, asyncio.TimerHandle] = {}
        self._closing = False

    async def count(self, account: str, limit: int, window_s: float = 60.0) -> float:
        """Count one request against a limit; a window starts with its first request.

        Returns:
            0.0 if it passes, else the seconds until the window ends.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        window = (account, limit, window_s)
        left_s = self._refused_until.get(window, 0.0) - monotonic()
        if left_s > 0:
            return left_s
        operation = Count(account, limit, window_s)
        await self._batcher.put(operation)
        if operation.wait_s:
            self._refused_until[window] = monotonic() + operation.wait_s
        else:
            self._refused_until.pop(window, None)
        return operation.wait_s

    async def take(self, account: str, per_minute: float, amount: float) -> float:
        """Take an amount (requests, tokens) from a bucket into which so much flows a minute.

        Returns:
            0.0 if it was there, else the seconds until it has flowed in. It is taken either way: a
            caller that does not wait for it must give it back.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        operation = Take(account, per_minute, amount)

        def undo() -> None:
            self.give_back(account, per_minute, amount)

        await _undo_if_cancelled(self._batcher.put(operation), undo)
        return operation.wait_s

    def give_back(self, account: str, per_minute: float, amount: float) -> None:
        """Return what an estimate took in excess; a negative amount takes more.

        If the store does not take the correction, the bucket is wrong for at most some seconds.
        """
        future = self._batcher.put(GiveBack(account, per_minute, amount))
        future.add_done_callback(_has_failed)

    async def reserve(
        self, accounts: Sequence[SpendAccount], usd: float, *, at: float
    ) -> SpendAccount | None:
        """Reserve a worst case on all accounts or on none, before it is spent.

        The reservation of a process that is killed stays until the period ends, because it may have
        been paid.

        Args:
            accounts: the accounts whose limits it must fit.
            usd: the worst case, US dollars.
            at: the moment, seconds since the epoch; `settle` needs the same one.

        Returns:
            The first account that has no room for it, else None.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        operation = Reserve(_with_row_names(accounts, at), rules.micro_dollars(usd))

        def undo() -> None:
            if operation.refused is None:
                self.settle(accounts, usd, 0.0, at=at)

        await _undo_if_cancelled(self._batcher.put(operation), undo)
        return operation.refused

    def settle(
        self, accounts: Sequence[SpendAccount], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None:
        """Queue turning what was reserved at that moment into what was spent.

        It is tried again while the store is away, until `close` gives up.
        """
        names = [name for name, _ in _with_row_names(accounts, at)]
        reserved_micro = rules.micro_dollars(reserved_usd)
        self._put_settle(Settle(names, reserved_micro, rules.micro_dollars(spent_usd)))

    async def read_spending(
        self, accounts: Iterable[SpendAccount], *, at: float
    ) -> dict[SpendAccount, AccountSpending]:
        """Return the spending of each account in its period around a moment.

        Raises:
            StoreUnavailable: If the database does not answer.
        """
        named = _with_row_names(accounts, at)
        names = sorted({name for name, _ in named})
        rows = await self._executor.run(lambda: self._rows.read_spending(names))
        return {
            account: AccountSpending(
                rules.dollars(rows[name].settled), rules.dollars(rows[name].reserved)
            )
            for name, account in named
        }

    async def prune(self, older_than_s: float) -> dict[str, int]:
        """Delete windows, buckets and periods that ended so long ago; return counts by table.

        A row is kept for a day at least. A running period stays, and so does a total.

        Raises:
            StoreUnavailable: If the database does not take it.
        """
        return await self._executor.run(lambda: self._rows.prune(older_than_s))

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

    def _put_settle(self, operation: Settle) -> None:
        self._retries.pop(operation, None)
        future = self._batcher.put(operation)
        self._pending.add(future)
        future.add_done_callback(lambda future: self._finish_settle(operation, future))

    def _finish_settle(self, operation: Settle, future: asyncio.Future[None]) -> None:
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

    async def _apply(self, operations: list[Operation]) -> Sequence[Exception | None]:
        """Apply a batch; an operation that cannot be applied, such as an overflow, fails alone."""
        try:
            await self._executor.run(lambda: self._rows.apply(operations))
        except Exception as error:  # noqa: BLE001 - each waiter gets the error of its operation
            if isinstance(error, StoreUnavailable) or len(operations) == 1:
                return [error] * len(operations)
            half = len(operations) // 2
            return [*await self._apply(operations[:half]), *await self._apply(operations[half:])]
        return [None] * len(operations)


def _with_row_names(accounts: Iterable[SpendAccount], at: float) -> list[tuple[str, SpendAccount]]:
    return [(rules.period_name(account.name, account.per, at), account) for account in accounts]


async def _undo_if_cancelled(change: asyncio.Future[None], undo: Callable[[], None]) -> None:
    """Wait for a change; if the waiter is cancelled first, undo the change once it is made."""
    try:
        await asyncio.shield(change)
    except asyncio.CancelledError:
        change.add_done_callback(lambda done: None if _has_failed(done) else undo())
        raise


def _has_failed(future: asyncio.Future[None]) -> bool:
    """Return whether it failed, and mark its error as retrieved, because nobody awaits it."""
    return future.cancelled() or future.exception() is not None
