"""Keep the calls of a judge to its requests and tokens a minute, counted over all processes.

Calls wait in a fair queue. Only the first one takes from the rates, and waits until what it took
has flowed in, so that small calls do not overtake a large one, nor one API key's calls another's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

from podium_service.errors import JudgeRateLimited
from podium_service.judges.dispatch.fair_queue import CallQueue, FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import estimate_call_tokens
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Tokens
from podium_service.prompts.templates import Prompt
from podium_service.store.quotas.quota_service import QuotaService

_SMOOTHING = 0.1


@dataclass(slots=True)
class Permit:
    """Permission to make one call.

    Attributes:
        sent: whether the call was sent; if not, all that it took from the rates is given back.
        tokens: the tokens of its reply, by which the rates and the spending are corrected; None if
            there is no reply or the endpoint does not count.
    """

    sent: bool = False
    tokens: Tokens | None = None


class RateLimiter(CallQueue):
    """The rates of one judge; without `quotas`, as in a command without a store, it has none."""

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        quotas: QuotaService | None,
        on_change: Callable[[], None],
    ) -> None:
        super().__init__(on_change)
        self.waiters: FairQueue[asyncio.Future[None]]
        self._name = name
        self._requests, self._tokens = config.requests_per_minute, config.tokens_per_minute
        self._quotas = quotas if self._requests or self._tokens else None
        self._is_busy = False
        self._turn_s = 0.0  # from one call to the next, smoothed

    @property
    def num_waiting(self) -> int:
        """The calls that wait, the one whose turn it is included."""
        return self.waiters.num_waiting + self._is_busy

    @property
    def num_free(self) -> float:
        """Infinite without rates; else 0, because each call waits at least for its own turn."""
        return 0 if self._quotas else inf

    def expected_wait_s(self, key: str, unqueued: Mapping[str, int]) -> float:
        return self.waiters.count_ahead(key, unqueued) * self._turn_s

    @asynccontextmanager
    async def acquire(
        self, prompt: Prompt, max_tokens: int, request_context: RequestContext
    ) -> AsyncIterator[Permit]:
        """Wait until a call is within the rates; the body makes it and completes the permit.

        Raises:
            JudgeRateLimited: If its turn comes only after the request's deadline.
        """
        quotas, permit = self._quotas, Permit()
        if quotas is None:
            yield permit
            return
        most_tokens = estimate_call_tokens(prompt, max_tokens)
        tokens_account = f"judge:{self._name}:tokens"
        amounts = [
            (f"judge:{self._name}:requests", self._requests, 1.0),
            (tokens_account, self._tokens, float(most_tokens)),
        ]
        payments: list[tuple[str, float, float]] = []
        try:
            async with self._take_turn(request_context.api_key_id):
                for account, per_minute, amount in amounts:
                    if per_minute:
                        wait_s = await quotas.take(account, per_minute, amount)
                        payments.append((account, per_minute, amount))
                        await self._sleep(wait_s, request_context.ends_at)
            yield permit
        finally:
            for account, per_minute, amount in payments if not permit.sent else ():
                quotas.give_back(account, per_minute, amount)
            if permit.tokens and self._tokens:
                num_tokens = permit.tokens.prompt + permit.tokens.completion
                quotas.give_back(tokens_account, self._tokens, most_tokens - num_tokens)

    async def _sleep(self, wait_s: float, ends_at: float) -> None:
        if wait_s > ends_at - asyncio.get_running_loop().time():
            raise JudgeRateLimited(
                f"judge:{self._name} has a rate a minute, and this call's turn comes in "
                f"{wait_s:.1f} s, after its deadline: raise the rate or deadline_s, or ask again "
                "later",
                retry_after_s=wait_s,
            )
        await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def _take_turn(self, key: str) -> AsyncIterator[None]:
        """Run the body of one call at a time."""
        loop = asyncio.get_running_loop()
        if self._is_busy:
            turn: asyncio.Future[None] = loop.create_future()
            self.waiters.add(key, turn)
            self._on_change()
            try:
                await turn
            except asyncio.CancelledError:
                if self.waiters.remove(key, turn):
                    self._on_change()
                elif not turn.cancelled():
                    self._start_next()  # because the turn was this call's already
                raise
        self._is_busy = True
        started = loop.time()
        try:
            yield
        finally:
            self._turn_s += (loop.time() - started - self._turn_s) * _SMOOTHING
            self._start_next()

    def _start_next(self) -> None:
        """Start the next turn; `_is_busy` stays set, so that no other call starts first."""
        self._is_busy = False
        while not self._is_busy and self.waiters.num_waiting:
            turn = self.waiters.pop()
            if not turn.done():  # is done if it was cancelled and has not run since
                turn.set_result(None)
                self._is_busy = True
        self._on_change()
