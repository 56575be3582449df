"""Share one run of a coroutine between callers who ask for the same key at the same moment.

    do(key) without a run  -> start a run and wait for it
    do(key) during a run   -> wait for that run
    the run ends           -> each waiting caller gets its value or its error; the key is free
    the last caller leaves -> the run is cancelled; the key is free

A run has no deadline of its own, because each caller keeps its own and leaves when that passes.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from podium_service.tracebacks import drop_locals_on_error

T = TypeVar("T")


@dataclass(slots=True)
class _SharedTask(Generic[T]):
    task: asyncio.Task[T]
    num_callers: int = 0


class SingleFlight(Generic[T]):
    """The runs under way, by key."""

    def __init__(self) -> None:
        self._runs: dict[str, _SharedTask[T]] = {}

    def __contains__(self, key: str) -> bool:
        """Return whether a run of this key is under way."""
        return self._running(key) is not None

    @drop_locals_on_error
    async def do(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the run of `key` and return its value; start the run if none is under way.

        Raises:
            Exception: Whatever the run raises.
        """
        run = self._running(key)
        if run is None:
            run = _SharedTask(asyncio.create_task(start()))
            run.task.add_done_callback(lambda task: self._finish(key, task))
            self._runs[key] = run
        run.num_callers += 1
        try:
            return await asyncio.shield(run.task)
        finally:
            run.num_callers -= 1
            if not run.num_callers and not run.task.done():
                self._forget(key, run.task)
                run.task.cancel()

    def _running(self, key: str) -> _SharedTask[T] | None:
        """Return the run under way; a run that ended is ignored, though `_finish` is still due."""
        run = self._runs.get(key)
        return run if run and not run.task.done() else None

    def _finish(self, key: str, task: asyncio.Task[T]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            # asyncio would log an error that nobody retrieves; callers that wait get it as well.
            task.exception()

    def _forget(self, key: str, task: asyncio.Task[T]) -> None:
        if key in self._runs and self._runs[key].task is task:
            del self._runs[key]
