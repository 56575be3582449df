"""What the calls to one judge may cost.

The worst that a call can cost is reserved before it is made and settled by what it did cost, so
that reserved plus settled never passes a limit, whatever the calls beside it do and whichever
process they are in. A call that only others' reservations hold back waits outside the line, where
it keeps no place from a call that has the money.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from math import inf
from typing import Protocol

from podium_service.errors import (
    JudgeError,
    JudgeSpendLimit,
    KeySpendLimit,
    Overloaded,
    PodiumError,
)
from podium_service.judges.dispatch.fair_queue import FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.limits import Price
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Tokens
from podium_service.prompts.templates import Prompt
from podium_service.store.quotas.quota_service import AccountSpending
from podium_service.store.quotas.spend import SpendAccount, api_key_account
from podium_service.telemetry.metrics import Metrics

_TOKENS_PER_MESSAGE = 16  # what a chat template puts around it, and to spare

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 1.0
_LOOKS_PER_S = 200  # of all calls of a key that wait, together

OnPaid = Callable[[Tokens], None]


class Quotas(Protocol):
    """The seam to what all processes of a store count together; see `quotas`."""

    async def reserve(
        self, holds: Sequence[SpendAccount], usd: float, *, at: float
    ) -> SpendAccount | None: ...

    async def read_spending(
        self, holds: Iterable[SpendAccount], *, at: float
    ) -> dict[SpendAccount, AccountSpending]: ...

    def settle(
        self, holds: Sequence[SpendAccount], reserved_usd: float, spent_usd: float, *, at: float
    ) -> None: ...


class HeldBack(Exception):
    """Only what other calls reserve is in the way of a call; `Allowance.room` waits for it.

    Attributes:
        by: the hold that has no room.
        usd: what does not fit.
        quotas: who counts.
    """

    def __init__(self, by: SpendAccount, usd: float, quotas: Quotas) -> None:
        super().__init__(str(_over(by, usd)))
        self.by = by
        self.usd = usd
        self.quotas = quotas


class SpendLimiter:
    """Of one judge.

    Args:
        quotas: who counts; None: nobody, for a command that has no store.
        on_change: told whenever the number of those who wait changes.
    """

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        quotas: Quotas | None,
        metrics: Metrics,
        on_change: Callable[[], None],
    ) -> None:
        self._name = name
        self._account = f"judge:{name}"
        self._config = config
        self._quotas = quotas
        self._metrics = metrics
        self._on_change = on_change
        self.turns: FairQueue[object] = (
            FairQueue()
        )  # only counted: who finds room first is served first

    @property
    def num_waiting(self) -> int:
        return self.turns.number

    @property
    def num_free(self) -> float:
        """Whether there is money is not known beforehand."""
        return inf

    def expected_wait_s(self, key: str, coming: Mapping[str, int]) -> float:
        """Nobody waits here for those who came before."""
        return 0.0

    def call(
        self, prompt: Prompt, max_tokens: int, request_context: RequestContext
    ) -> AbstractAsyncContextManager[OnPaid]:
        """Reserve what a call can cost at most, if it fits now.

        The body makes the call and tells what it took. One that failed with an answer is free; one
        that got none, none that can be read, or was cancelled, may have been paid and counts as its
        worst case.

        Raises:
            JudgeSpendLimit, KeySpendLimit: If the worst case does not fit a limit.
            HeldBack: If it may fit once other calls are settled.
        """
        holds = self._holds(request_context)
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
        self, quotas: Quotas, holds: Sequence[SpendAccount], price: Price, worst_usd: float
    ) -> AsyncIterator[OnPaid]:
        """Keep to the spend limits."""
        at = time.time()
        if refused := await quotas.reserve(holds, worst_usd, at=at):
            held = HeldBack(refused, worst_usd, quotas)
            await _spent(held)
            raise held
        usd = worst_usd

        def spent(tokens: Tokens) -> None:
            nonlocal usd
            if tokens.prompt or tokens.completion:  # else the endpoint does not count
                cost_usd = price.cost_usd(tokens.prompt, tokens.cached, tokens.completion)
                usd = min(worst_usd, cost_usd)  # a count beyond that is wrong

        try:
            with self._metrics.track_reserved(self._name, worst_usd):
                yield spent
        except Exception as error:
            if not (isinstance(error, JudgeError) and error.unanswered):
                usd = 0.0
            raise
        finally:
            quotas.settle(holds, worst_usd, usd, at=at)

    async def room(self, held: HeldBack, key: str, ends_at: float) -> None:
        """Wait until a call that was held back seems to fit; it may be held back again.

        Args:
            held: what it was told.
            key: of its caller.
            ends_at: until when it waits, on the event loop's clock.

        Raises:
            JudgeSpendLimit, KeySpendLimit: If it will not fit.
            Overloaded: If it does not by then.
        """
        clock, pause_s, waiter = asyncio.get_running_loop().time, _FIRST_PAUSE_S, object()
        self.turns.add(key, waiter)
        self._on_change()
        try:
            while True:
                left_s = ends_at - clock()
                if left_s <= 0:
                    raise Overloaded(
                        f"calls in flight reserve what a call of up to ${held.usd:.4f} needs of "
                        f"${held.by.limit_usd:g} per {held.by.per}: ask again once they are "
                        "settled, or raise the limit",
                        retry_after_s=1.0,
                    )
                apart_s = self.turns.number_of(key) / _LOOKS_PER_S
                await asyncio.sleep(min(left_s, max(pause_s, apart_s)))
                pause_s = min(_LAST_PAUSE_S, 2 * pause_s)
                spent = await _spent(held)
                if spent.settled + spent.reserved + held.usd <= held.by.limit_usd:
                    return
        finally:
            self.turns.remove(key, waiter)
            self._on_change()

    def _holds(self, request_context: RequestContext) -> list[SpendAccount]:
        limit = self._config.spend
        of_judge = SpendAccount(self._account, limit.usd, limit.per) if limit else None
        holds = (of_judge, api_key_account(request_context.api_key_id, request_context.spend_limit))
        return [hold for hold in holds if hold]


def _nobody(_: Tokens) -> None:
    """Counts what was taken where nothing is bounded."""


def _most_tokens(prompt: Prompt) -> int:
    """No tokenizer makes more tokens than bytes."""
    texts = [part for _, parts in prompt.messages for part in parts]
    return sum(len(text.encode()) + _TOKENS_PER_MESSAGE for text in texts)


async def _spent(held: HeldBack) -> AccountSpending:
    """What is spent now of what holds a call back.

    Raises:
        JudgeSpendLimit, KeySpendLimit: If the call would not fit though all others were free.
    """
    spent = (await held.quotas.read_spending([held.by], at=time.time()))[held.by]
    if spent.settled + held.usd > held.by.limit_usd:
        raise _over(held.by, held.usd)
    return spent


def _over(refused: SpendAccount, usd: float) -> PodiumError:
    detail = (
        f"a call of up to ${usd:.4f} does not fit what is left of ${refused.limit_usd:g} per "
        f"{refused.per}: raise the limit"
    )
    if not refused.account.startswith("judge:"):
        return KeySpendLimit(f"this API key: {detail}, or use another key")
    return JudgeSpendLimit(f"{refused.account}: {detail}, or wait for the period's end")
