"""What the calls to one judge may cost.

The worst that a call can cost is reserved before it is made and settled by what it did cost, so
that reserved plus settled never passes a limit, whatever the calls beside it do and whichever
process they are in.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Protocol

from service.caller import Caller, Hold, key_hold
from service.errors import JudgeSpendLimit, KeySpendLimit, PodiumError
from service.judge_config import LLMJudge
from service.ledger import Spent
from service.limits_config import Price
from service.metrics import Metrics
from service.outbound.reply import Tokens
from service.prompts import Prompt

_TOKENS_PER_MESSAGE = 16  # what a chat template puts around it, and to spare

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 1.0

OnPaid = Callable[[Tokens], None]


class Quotas(Protocol):
    """The seam to what all processes of a store count together; see `ledger`."""

    async def reserve(self, holds: Sequence[Hold], usd: float, *, at: float) -> Hold | None: ...

    async def spent(self, holds: Iterable[Hold], *, at: float) -> dict[Hold, Spent]: ...

    def settle(
        self, holds: Sequence[Hold], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None: ...


class Allowance:
    """Of one judge."""

    def __init__(
        self, name: str, config: LLMJudge, quotas: Quotas | None, metrics: Metrics
    ) -> None:
        """Without `quotas` nobody counts: a command that has no store."""
        self._name = name
        self._account = f"judge:{name}"
        self._config = config
        self._quotas = quotas
        self._metrics = metrics

    def call(
        self, prompt: Prompt, max_tokens: int, caller: Caller
    ) -> AbstractAsyncContextManager[OnPaid]:
        """Reserve what a call can cost at most.

        The body makes the call and tells what it took. One that failed with an answer is free; one
        that got none, none that can be read, or was cancelled, may have been paid and counts as its
        worst case.

        Raises:
            JudgeSpendLimit, KeySpendLimit: If the worst case does not fit a limit.
        """
        holds = self._holds(caller)
        if self._quotas is None or not holds:
            return nullcontext(_nobody)
        price = self._config.price
        if not price:  # the hold is the key's: a judge's own limit needs one
            raise KeySpendLimit(
                f"this API key has a spend limit and judge {self._name!r} no price: give the judge "
                "one ({} where it costs nothing), or use another key"
            )
        worst_usd = price.worst_usd(_most_tokens(prompt), max_tokens)
        if not worst_usd:
            return nullcontext(_nobody)
        return self._reserved(self._quotas, holds, price, worst_usd)

    @asynccontextmanager
    async def _reserved(
        self, quotas: Quotas, holds: Sequence[Hold], price: Price, worst_usd: float
    ) -> AsyncIterator[OnPaid]:
        """Keep to the spend limits."""
        at = time.time()
        await self._reserve(quotas, holds, worst_usd, at)
        usd = worst_usd

        def spent(tokens: Tokens) -> None:
            nonlocal usd
            if tokens.prompt or tokens.completion:  # else the endpoint does not count
                usd = price.cost_usd(tokens.prompt, tokens.cached, tokens.completion)

        try:
            with self._metrics.reserving(self._name, worst_usd):
                yield spent
        except Exception as error:
            if not getattr(error, "unanswered", False):
                usd = 0.0
            raise
        finally:
            quotas.settle(holds, worst_usd, usd, at=at)

    async def _reserve(self, quotas: Quotas, holds: Sequence[Hold], usd: float, at: float) -> None:
        """Reserve, waiting for calls in flight to be settled if only what they reserve is in the
        way; they take one attempt's time at most."""
        loop = asyncio.get_running_loop()
        ends_at, pause_s = loop.time() + self._config.timeout_s, _FIRST_PAUSE_S
        while refused := await quotas.reserve(holds, usd, at=at):
            spent = (await quotas.spent([refused], at=at))[refused]
            if spent.settled + usd > refused.limit_usd or loop.time() >= ends_at:
                raise _over(refused, usd)
            await asyncio.sleep(pause_s)
            pause_s = min(_LAST_PAUSE_S, 2 * pause_s)

    def _holds(self, caller: Caller) -> list[Hold]:
        limit = self._config.spend
        of_judge = Hold(self._account, limit.usd, limit.per) if limit else None
        holds = (of_judge, key_hold(caller.key, caller.spend_limit))
        return [hold for hold in holds if hold]


def _nobody(_: Tokens) -> None:
    """Counts what was taken where nothing is bounded."""


def _most_tokens(prompt: Prompt) -> int:
    """No tokenizer makes more tokens than bytes."""
    texts = [part for _, parts in prompt.messages for part in parts]
    return sum(len(text.encode()) + _TOKENS_PER_MESSAGE for text in texts)


def _over(refused: Hold, usd: float) -> PodiumError:
    detail = (
        f"a call of up to ${usd:.4f} does not fit what is left of ${refused.limit_usd:g} per "
        f"{refused.per}: raise the limit"
    )
    if not refused.account.startswith("judge:"):
        return KeySpendLimit(f"this API key: {detail}, or use another key")
    return JudgeSpendLimit(f"{refused.account}: {detail}, or wait for the period's end")
