"""Letting groups in, or refusing them before anything is spent on them."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from service.errors import Overloaded
from service.outbound.turns import Turns


class Queue(Protocol):
    """Where calls of one judge wait."""

    @property
    def num_waiting(self) -> int: ...

    @property
    def turns(self) -> Turns[Any]: ...

    def expected_wait_s(self, key: str) -> float: ...


class Admission:
    """Of one judge: at most `max_waiting` calls wait in its queues, and none longer than it can."""

    def __init__(self, queues: Sequence[Queue], max_waiting: int) -> None:
        self._queues = queues
        self._max_waiting = max_waiting
        self._room = asyncio.Event()

    @property
    def num_waiting(self) -> int:
        return sum(queue.num_waiting for queue in self._queues)

    def changed(self) -> None:
        """A queue has become longer or shorter."""
        if self.num_waiting < self._max_waiting:
            self._room.set()

    async def admit(self, key: str, remaining_s: float, judging_s: float, *, patient: bool) -> None:
        """Let a group in that is about to ask.

        Args:
            key: of the caller.
            remaining_s: until its deadline.
            judging_s: how long a call takes once its turn has come.
            patient: wait for room in the line instead of being refused; a batch's groups do.

        Raises:
            Overloaded: If the line is full, or too long to be served in time.
        """
        while self._full(key):
            if not patient:
                raise Overloaded(
                    f"{self.num_waiting} judge calls wait, and at most {self._max_waiting} may: "
                    "ask again later, or raise the judge's queue or concurrency",
                    retry_after_s=max(1.0, self._expected_wait_s(key)),
                )
            self._room.clear()
            await self._room.wait()
        wait_s = self._expected_wait_s(key)
        if wait_s and wait_s + judging_s > remaining_s:
            raise Overloaded(
                f"about {wait_s:.1f} s of waiting and {judging_s:.1f} s of judging do not fit "
                f"the {remaining_s:.1f} s that are left: raise deadline_s, or ask again later",
                retry_after_s=max(1.0, wait_s),
            )

    def _expected_wait_s(self, key: str) -> float:
        return sum(queue.expected_wait_s(key) for queue in self._queues)

    def _full(self, key: str) -> bool:
        """Whether a call of this key would be one too many. Where others fill the line, a key
        still has its share of it."""
        if self.num_waiting < self._max_waiting:
            return False
        keys = set().union({key}, *(queue.turns.keys for queue in self._queues))
        own = sum(queue.turns.number_of(key) for queue in self._queues)
        return own >= self._max_waiting / len(keys)
