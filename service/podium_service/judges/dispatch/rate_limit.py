"""Keep the calls of a judge to its requests and tokens a minute, counted over all processes.

Calls wait in a fair queue. Only the first one takes from the rates, and waits until what it took
has flowed in, so that small calls do not overtake a large one, nor one API key's calls another's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import Protocol

from podium_service.errors import JudgeRateLimited
from podium_service.judges.dispatch.fair_queue import CallQueue, FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import estimate_call_tokens
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Tokens
from podium_service.prompts.templates import Prompt

_SMOOTHING = 0.1


class RateQuotas(Protocol):
    """The seam to the rates that all processes of a store share: see `store.quotas`."""

    async def take(self, account: str, per_minute: float, amount: float, /) -> float: ...

    def give_back(self, account: str, per_minute: float, amount: float, /) -> None: ...


@dataclass(slots=True)
class Permit:
    """Permission to make one call.

    Attributes:
        sent: whether the call was sent; if not, all that it took from the rates is given back.
        tokens: the tokens of its reply, by which the rates and the spending are corrected.
    """

    sent: bool = False
    tokens: Tokens | None = None


class RateLimiter(CallQueue):
    """The rates of one judge; without `quotas`, as in a command without a store, it has none."""

    def __init__(
        self, name: str, config: LLMJudge, quotas: RateQuotas | None, on_change: Callable[[], None]
    ) -> None:
        super().__init__(on_change)
        self.waiters: FairQueue[asyncio.Future[None]]
        self._requests = config.requests_per_minute if quotas else None
        self._tokens = config.tokens_per_minute if quotas else None
        self._account = f"judge:{name}"
        self._quotas = quotas
        self._is_busy = False
        self._turn_s = 0.0  # from one call to the next, smoothed

    @property
    def num_waiting(self) -> int:
        """The calls that wait, the one whose turn it is included."""
        return self.waiters.num_waiting + self._is_busy

    @property
    def num_free(self) -> float:
        """Infinite without rates; else 0, because each call waits at least for its own turn."""
        return 0 if self._requests or self._tokens else inf

    def expected_wait_s(self, key: str, unqueued: Mapping[str, int]) -> float:
        """Return how long one more call will wait: see `CallQueue`."""
        return self.waiters.count_ahead(key, unqueued) * self._turn_s

    @asynccontextmanager
    async def acquire(
        self, prompt: Prompt, max_tokens: int, request_context: RequestContext
    ) -> AsyncIterator[Permit]:
        """Wait until a call is within the rates; the body makes it and completes the permit.

        Raises:
            JudgeRateLimited: If its turn comes only after the request's deadline.
        """
        quotas, permit, charged = self._quotas, Permit(), set[str]()
        if quotas is None or not (self._requests or self._tokens):
            yield permit
            return
        amounts: dict[str, tuple[float, float]] = {}
        if self._requests:
            amounts[f"{self._account}:requests"] = (self._requests, 1.0)
        estimated_tokens = estimate_call_tokens(prompt, max_tokens)
        tokens_account = f"{self._account}:tokens"
        if self._tokens:
            amounts[tokens_account] = (self._tokens, float(estimated_tokens))
        try:
            async with self._take_turn(request_context.api_key_id):
                for account, (per_minute, amount) in amounts.items():
                    wait_s = await quotas.take(account, per_minute, amount)
                    charged.add(account)
                    await self._sleep(wait_s, request_context.ends_at)
            yield permit
        finally:
            for account in charged if not permit.sent else ():
                quotas.give_back(account, *amounts[account])
            if permit.tokens and self._tokens:
                counted_tokens = permit.tokens.prompt + permit.tokens.completion
                if counted_tokens:  # is 0 if the endpoint does not count
                    excess = estimated_tokens - counted_tokens
                    quotas.give_back(tokens_account, self._tokens, excess)

    async def _sleep(self, wait_s: float, ends_at: float) -> None:
        if wait_s > ends_at - asyncio.get_running_loop().time():
            raise JudgeRateLimited(
                f"{self._account} has a rate a minute, and this call's turn comes in {wait_s:.1f} "
                "s, after its deadline: raise the rate or deadline_s, or ask again later",
                retry_after_s=wait_s,
            )
        await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def _take_turn(self, key: str) -> AsyncIterator[None]:
        """Run the body of one call at a time."""
        if self._is_busy:
            await self._wait_for_turn(key)
        self._is_busy = True
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            yield
        finally:
            self._turn_s += (loop.time() - started - self._turn_s) * _SMOOTHING
            self._start_next()

    async def _wait_for_turn(self, key: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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

    def _start_next(self) -> None:
        """Start the next waiter's turn.

        `_is_busy` stays set, so that no other call starts before the waiter runs.
        """
        self._is_busy = False
        while turn := self.waiters.first():
            self.waiters.pop()
            if not turn.done():  # is done if it was cancelled and has not run since
                turn.set_result(None)
                self._is_busy = True
                break
        self._on_change()
