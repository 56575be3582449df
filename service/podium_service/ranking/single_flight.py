"""Share one run of a coroutine between callers who ask for the same key at the same moment.

    do(key) without a run  -> start a run and wait for it
    do(key) during a run   -> wait for that run
    the run ends           -> each waiting caller gets its value or its error; the key is free
    the last caller leaves -> the run is cancelled; the key is free

A run has no deadline of its own, because each caller keeps its own and leaves when that passes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from podium_service.telemetry.tracebacks import drop_locals_on_error

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The runs under way, by key."""

    def __init__(self) -> None:
        self._runs: dict[str, asyncio.Task[T]] = {}
        self._num_callers: Counter[asyncio.Task[T]] = Counter()

    def __contains__(self, key: str) -> bool:
        """Return whether a run of this key is under way.

        A run that ended is not, though the event loop may still be about to forget it.
        """
        return key in self._runs and not self._runs[key].done()

    @drop_locals_on_error
    async def do(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the run of `key` and return its value; start the run if none is under way.

        Raises:
            Exception: Whatever the run raises.
        """
        if key not in self:
            self._runs[key] = asyncio.create_task(start())
            self._runs[key].add_done_callback(partial(self._forget, key))
        run = self._runs[key]
        self._num_callers[run] += 1
        try:
            return await asyncio.shield(run)
        finally:
            self._num_callers[run] -= 1
            if not self._num_callers[run]:
                del self._num_callers[run]
                self._forget(key, run)
                run.cancel()

    def _forget(self, key: str, run: asyncio.Task[T]) -> None:
        if self._runs.get(key) is run:
            del self._runs[key]
        if run.done() and not run.cancelled():
            # asyncio would log an error that nobody retrieves; callers that wait get it as well.
            run.exception()
