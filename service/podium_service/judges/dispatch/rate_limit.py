"""Requests and tokens a minute of one judge, over all processes: calls wait for them in turn.

Only the call whose turn it is asks, and waits until what it takes has flowed in: so a large one is
not overtaken by small ones, nor a key by another's batch.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from math import inf
from typing import Protocol

from podium_service.errors import JudgeRateLimited
from podium_service.judges.dispatch.fair_queue import FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import estimate_call_tokens
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Tokens
from podium_service.prompts.templates import Prompt

_SMOOTHING = 0.1


class Buckets(Protocol):
    """The seam to what all processes of a store count together; see `quotas`."""

    async def take(self, account: str, per_minute: float, amount: float) -> float: ...

    def give_back(self, account: str, per_minute: float, amount: float) -> None: ...


@dataclass(slots=True)
class Ticket:
    """Leave to make one call; what was taken for one that is not made is given back."""

    sent: bool = False
    tokens: Tokens | None = None


class RateLimiter:
    """Of one judge.

    Args:
        on_change: told whenever the number of those who wait changes.
    """

    def __init__(
        self, name: str, config: LLMJudge, buckets: Buckets | None, on_change: Callable[[], None]
    ) -> None:
        self._requests = config.requests_per_minute if buckets else None
        self._tokens = config.tokens_per_minute if buckets else None
        self._account = f"judge:{name}"
        self._buckets = buckets
        self._on_change = on_change
        self.turns: FairQueue[asyncio.Future[None]] = FairQueue()
        self._busy = False
        self._spacing_s = 0.0  # from one call to the next, smoothed

    @property
    def num_waiting(self) -> int:
        return self.turns.number + self._busy

    @property
    def num_free(self) -> float:
        """All pass where there are no rates; else each waits at least for its own turn's end."""
        return 0 if self._requests or self._tokens else inf

    def expected_wait_s(self, key: str, coming: Mapping[str, int]) -> float:
        """How long a call of this key will wait, as calls go now; 0 if none waits, nor will of
        those `coming`, by key."""
        return self.turns.ahead_of(key, coming) * self._spacing_s

    def ticket(
        self, prompt: Prompt, max_tokens: int, request_context: RequestContext
    ) -> AbstractAsyncContextManager[Ticket]:
        """Wait for leave to make a call; the body says whether it was sent, and what it took.

        Raises:
            JudgeRateLimited: If leave comes only after the caller's deadline.
        """
        if self._buckets is None or not (self._requests or self._tokens):
            return nullcontext(Ticket())
        return self._ticket(self._buckets, prompt, max_tokens, request_context)

    @asynccontextmanager
    async def _ticket(
        self, buckets: Buckets, prompt: Prompt, max_tokens: int, request_context: RequestContext
    ) -> AsyncIterator[Ticket]:
        amounts: dict[str, tuple[float, float]] = {}
        if self._requests:
            amounts[f"{self._account}:requests"] = (self._requests, 1.0)
        expected = estimate_call_tokens(prompt, max_tokens)
        of_tokens = f"{self._account}:tokens"
        if self._tokens:
            amounts[of_tokens] = (self._tokens, float(expected))
        ticket, taken = Ticket(), set[str]()
        try:
            async with self._turn(request_context.api_key_id):
                for account, (per_minute, amount) in amounts.items():
                    wait_s = await buckets.take(account, per_minute, amount)
                    taken.add(account)
                    await self._wait_out(wait_s, request_context.ends_at)
            yield ticket
        finally:
            for account in taken if not ticket.sent else ():
                buckets.give_back(account, *amounts[account])
            if ticket.tokens and self._tokens:
                real = ticket.tokens.prompt + ticket.tokens.completion
                if real:  # else the endpoint does not count
                    buckets.give_back(of_tokens, self._tokens, expected - real)

    async def _wait_out(self, wait_s: float, ends_at: float) -> None:
        if wait_s > ends_at - asyncio.get_running_loop().time():
            raise JudgeRateLimited(
                f"{self._account} has a rate a minute, and this call's turn comes in {wait_s:.1f} "
                "s, after its deadline: raise the rate or deadline_s, or ask again later",
                retry_after_s=wait_s,
            )
        await asyncio.sleep(wait_s)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        """One at a time."""
        if self._busy:
            await self._wait(key)
        self._busy = True
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            yield
        finally:
            self._spacing_s += (loop.time() - started - self._spacing_s) * _SMOOTHING
            self._pass_on()

    async def _wait(self, key: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turns.add(key, turn)
        self._on_change()
        try:
            await turn
        except asyncio.CancelledError:
            if self.turns.remove(key, turn):
                self._on_change()
            elif not turn.cancelled():
                self._pass_on()  # it was ours already
            raise

    def _pass_on(self) -> None:
        """The next one's turn; `_busy` stays, so that nobody comes between."""
        self._busy = False
        while turn := self.turns.first():
            self.turns.pop()
            if not turn.done():  # else its caller has left, and has not run yet
                turn.set_result(None)
                self._busy = True
                break
        self._on_change()
