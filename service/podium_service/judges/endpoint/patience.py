"""Decide how long an answer of an endpoint is waited for.

A server that works on one call at a time lets the fourth one wait four times as long as the first,
and is alive all the while. A server that hangs answers nobody.
"""

from asyncio import Timeout, TimerHandle, get_running_loop, timeout
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """So many seconds for an answer.

    Attributes:
        seconds: counted from when the call is sent.
        is_renewed: whether they are counted anew from each answer to another call.
    """

    seconds: float
    is_renewed: bool = False

    def limit(
        self, last_answer_at: Callable[[], float]
    ) -> AbstractAsyncContextManager[Timeout | None]:
        """Return what raises TimeoutError in its body once the patience is over.

        `last_answer_at` returns when the endpoint answered any call last, in seconds on the event
        loop's clock.
        """
        if self.is_renewed:
            return _silence_timeout(self.seconds, last_answer_at)
        return timeout(self.seconds)


@asynccontextmanager
async def _silence_timeout(
    seconds: float, last_answer_at: Callable[[], float]
) -> AsyncIterator[None]:
    loop = get_running_loop()
    started_at = loop.time()
    timer: TimerHandle | None = None
    async with timeout(None) as limit:

        def check() -> None:
            nonlocal timer
            ends_at = max(started_at, last_answer_at()) + seconds
            if ends_at > loop.time():
                timer = loop.call_at(ends_at, check)
            else:
                limit.reschedule(loop.time())

        check()
        try:
            yield
        finally:
            if timer:
                timer.cancel()
