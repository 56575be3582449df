"""Keep the calls of a judge to the spend limits of the judge and of the caller's API key.

    reserve ──worst case fits──────────────────► call ──► settled by what it did cost
       ├──fits once other calls are settled────► SpendBlocked; `wait`, then reserve again
       └──does not fit─────────────────────────► JudgeSpendLimit, KeySpendLimit

The worst that a call can cost is reserved before it is made, so that reserved plus settled never
exceeds a limit, whatever concurrent calls do, in whichever process. A call that waits for money
holds no place at an endpoint meanwhile, because another call may have the money that it lacks.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from podium_service.errors import JudgeError, JudgeSpendLimit, KeySpendLimit, Overloaded
from podium_service.judges.dispatch.fair_queue import CallQueue
from podium_service.judges.dispatch.rate_limit import Permit
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.templates import Prompt
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.store.quotas.spend import SpendAccount, api_key_account
from podium_service.telemetry.metrics import Metrics

_TOKENS_PER_MESSAGE = 16  # more than a chat template adds to a message

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 1.0
_CHECKS_PER_S = 200  # of all calls of an API key that wait, together


class SpendBlocked(Exception):
    """A call of up to `usd` fits an account only once other calls are settled: see `wait`."""

    def __init__(self, quotas: QuotaService, account: SpendAccount, usd: float) -> None:
        super().__init__(account, usd)
        self.quotas, self.account, self.usd = quotas, account, usd


class SpendLimiter(CallQueue):
    """The spend limits of one judge and of the API keys that call it.

    Without `quotas`, as in a command without a store, it has none. Its waiters are only counted,
    because the first call to find money is served first.
    """

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        quotas: QuotaService | None,
        metrics: Metrics,
        on_change: Callable[[], None],
    ) -> None:
        super().__init__(on_change)
        self._name = name
        self._config = config
        self._quotas = quotas
        self._metrics = metrics

    @asynccontextmanager
    async def reserve(
        self, prompt: Prompt, max_tokens: int, request_context: RequestContext, permit: Permit
    ) -> AsyncIterator[None]:
        """Reserve the most that a call can cost, if that fits now.

        The body makes the call and sets the permit's tokens. A call that failed with an answer is
        free. One that got no answer, or none that can be read, or was cancelled, may have been
        paid, and counts at its worst case.

        Raises:
            JudgeSpendLimit, KeySpendLimit: If the worst case does not fit a limit.
            SpendBlocked: If it may fit once other calls are settled.
        """
        quotas, price = self._quotas, self._config.price
        limit = self._config.spend
        of_judge = SpendAccount(f"judge:{self._name}", limit.usd, limit.per) if limit else None
        of_key = api_key_account(request_context.api_key_id, request_context.spend_limit)
        accounts = [account for account in (of_judge, of_key) if account]
        if quotas is None or not accounts:
            yield
            return
        if not price:  # the limit is the key's, because the settings refuse a judge's without one
            raise KeySpendLimit(
                f"this API key has a spend limit and judge {self._name!r} no price: give the judge "
                "one ({} where it costs nothing), or use another key"
            )
        # No tokenizer makes more tokens than bytes. Images are taken at the judge's `image_tokens`.
        sizes = (
            len(part.encode()) if isinstance(part, str) else part.tokens
            for _, parts in prompt.messages
            for part in parts
        )
        most_prompt_tokens = sum(size + _TOKENS_PER_MESSAGE for size in sizes)
        usd = worst_usd = price.worst_usd(most_prompt_tokens, max_tokens)
        if not worst_usd:
            yield
            return
        at = time.time()
        if account := await quotas.reserve(accounts, worst_usd, at=at):
            await _fits_now(quotas, account, worst_usd)
            raise SpendBlocked(quotas, account, worst_usd)
        try:
            with self._metrics.track_reserved(self._name, worst_usd):
                yield
        except Exception as error:
            if not (isinstance(error, JudgeError) and error.unanswered):
                usd = 0.0
            raise
        finally:
            if tokens := permit.tokens:
                cost_usd = price.cost_usd(tokens.prompt, tokens.cached, tokens.completion)
                usd = min(worst_usd, cost_usd)  # because a larger count is wrong
            quotas.settle(accounts, worst_usd, usd, at=at)

    async def wait(self, blocked: SpendBlocked, key: str, ends_at: float) -> None:
        """Wait until the blocked call of an API key seems to fit; it may be blocked again.

        Raises:
            JudgeSpendLimit, KeySpendLimit: If it will not fit.
            Overloaded: If it does not fit by `ends_at`, in seconds on the event loop's clock.
        """
        pause_s, waiter, account = _FIRST_PAUSE_S, object(), blocked.account
        self.waiters.add(key, waiter)
        self._on_change()
        try:
            while True:
                remaining_s = ends_at - asyncio.get_running_loop().time()
                if remaining_s <= 0:
                    raise Overloaded(
                        f"other calls reserve what a call of up to ${blocked.usd:.4f} needs of "
                        f"${account.limit_usd:g} per {account.per}: ask again once they are "
                        "settled, or raise the limit",
                        retry_after_s=1.0,
                    )
                key_pause_s = self.waiters.count(key) / _CHECKS_PER_S
                await asyncio.sleep(min(remaining_s, max(pause_s, key_pause_s)))
                pause_s = min(_LAST_PAUSE_S, 2 * pause_s)
                if await _fits_now(blocked.quotas, account, blocked.usd):
                    return
        finally:
            self.waiters.remove(key, waiter)
            self._on_change()


async def _fits_now(quotas: QuotaService, account: SpendAccount, usd: float) -> bool:
    """Return whether a call of up to `usd` fits an account's limit beside all other calls.

    Raises:
        JudgeSpendLimit, KeySpendLimit: If it would not fit though all others were free.
    """
    spending = (await quotas.read_spending([account], at=time.time()))[account]
    if spending.settled + usd <= account.limit_usd:
        return spending.settled + spending.reserved + usd <= account.limit_usd
    detail = (
        f"a call of up to ${usd:.4f} does not fit what is left of ${account.limit_usd:g} per "
        f"{account.per}: raise the limit"
    )
    if account.name.startswith("judge:"):
        raise JudgeSpendLimit(f"{account.name}: {detail}, or wait for the period's end")
    raise KeySpendLimit(f"this API key: {detail}, or use another key")
