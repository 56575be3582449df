"""Single flight: callers who want the same thing at the same moment share one run of it.

A flight has no deadline of its own. Each waiter keeps its own and leaves when it must; a flight
that nobody waits for any more is cancelled.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiters: int = 0


class SingleFlight(Generic[T]):
    """The runs in the air, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether a flight is in the air."""
        return self._flying(key) is not None

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """Wait for the flight `key`, starting it if there is none.

        Returns:
            Its result, and whether this caller started it.
        """
        flight = self._flying(key)
        first = flight is None
        if flight is None:
            flight = _Flight(asyncio.create_task(start()))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
            self._flights[key] = flight
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task), first
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._forget(key, flight.task)
                flight.task.cancel()
            del flight  # its error would hold this frame, and the frame the flight

    def _flying(self, key: str) -> _Flight[T] | None:
        """One that is over may not have landed yet."""
        flight = self._flights.get(key)
        return flight if flight and not flight.task.done() else None

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # seen: every waiter that is still there gets it, too

    def _forget(self, key: str, task: asyncio.Task[T]) -> None:
        if key in self._flights and self._flights[key].task is task:
            del self._flights[key]
