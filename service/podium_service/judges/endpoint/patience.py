"""Decide how long an answer of an endpoint is waited for.

A server that works on one call at a time lets the fourth one wait four times as long as the first,
and is alive all the while. A server that hangs answers nobody.
"""

from asyncio import Timeout, TimerHandle, get_running_loop, timeout
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType


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
            return _SilenceTimeout(self.seconds, last_answer_at)
        return timeout(self.seconds)


class _SilenceTimeout:
    """Raise TimeoutError in the body once an endpoint has answered no call for so many seconds.

    It is no generator, because its timer and an error of the body would then form a reference cycle
    (see `tracebacks`).
    """

    def __init__(self, seconds: float, last_answer_at: Callable[[], float]) -> None:
        self._seconds = seconds
        self._last_answer_at = last_answer_at
        self._started_at = get_running_loop().time()
        self._limit = timeout(None)
        self._timer: TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._check()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        await self._limit.__aexit__(kind, error, traceback)

    def _check(self) -> None:
        loop = get_running_loop()
        ends_at = max(self._started_at, self._last_answer_at()) + self._seconds
        if ends_at > loop.time():
            self._timer = loop.call_at(ends_at, self._check)
        else:
            self._limit.reschedule(loop.time())
