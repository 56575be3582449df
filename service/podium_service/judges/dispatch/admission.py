"""Letting groups in, or refusing them before anything is spent on them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from podium_service.errors import Overloaded
from podium_service.judges.dispatch.fair_queue import FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.tracebacks import drop_locals_on_error

# Passes of the event loop until an admitted group's calls have queued: the group resumes, starts a
# task a call, and each of those may start another one so as to hedge; one more to be safe.
_PASSES_TO_QUEUE = 4


class Queue(Protocol):
    """Where calls of one judge wait."""

    @property
    def num_waiting(self) -> int: ...

    @property
    def num_free(self) -> float:
        """How many calls would not wait if they came now."""

    @property
    def turns(self) -> FairQueue[Any]: ...

    def expected_wait_s(self, key: str, coming: Mapping[str, int]) -> float: ...


@dataclass(slots=True, eq=False)
class _Group:
    request_context: RequestContext
    num_calls: int
    turn: asyncio.Future[None]


class Admission:
    """Admits groups to one judge while fewer than `max_waiting` calls wait.

    So no more calls wait than that and the calls of a few groups: the last one admitted, and those
    whose calls took so long to queue that they are no longer counted. A call that is admitted and
    has yet to queue counts as waiting unless there is a free place for it. Beyond the bound, each
    key still has its share.

    Args:
        queues: where calls wait, one after the other.
        max_waiting: how many may.
        judging_s: how long a call takes once its turn has come.
    """

    def __init__(
        self, queues: Sequence[Queue], max_waiting: int, judging_s: Callable[[], float]
    ) -> None:
        self._queues = queues
        self._max_waiting = max_waiting
        self._judging_s = judging_s
        self._unqueued: Counter[str] = Counter()  # admitted calls yet to queue; no key without any
        self._patient: FairQueue[_Group] = FairQueue()
        self._looks_again = False

    @property
    def num_queued(self) -> int:
        return sum(queue.num_waiting for queue in self._queues)

    @property
    def num_waiting(self) -> int:
        """The calls in the queues, and those yet to queue that will have to wait there."""
        free = min(queue.num_free for queue in self._queues)
        return self.num_queued + int(max(0, self._unqueued.total() - free))

    def changed(self) -> None:
        """A queue has become longer or shorter. Whoever waits for room is let in a moment later:
        just now a call may be on its way from one queue to the next."""
        if self._patient.number and not self._looks_again:
            self._looks_again = True
            asyncio.get_running_loop().call_soon(self._look_again)

    async def admit(self, request_context: RequestContext, num_calls: int) -> None:
        """Admit a group that is about to ask.

        A patient one waits for room, in turn between keys and first come, first served within one.

        Args:
            request_context: of the group's request.
            num_calls: how many calls it starts with, all at once.

        Raises:
            Overloaded: If too many calls wait and the caller is not patient, or too many to be
                served by its deadline.
        """
        if request_context.patient:
            await self._wait(request_context, num_calls)
        elif self._full(request_context.api_key_id):
            raise Overloaded(
                f"{self.num_waiting} judge calls wait, and at most {self._max_waiting} may: "
                "ask again later, or raise the judge's queue or concurrency",
                retry_after_s=max(1.0, self._expected_wait_s(request_context.api_key_id)),
            )
        else:
            self._enter(request_context, num_calls)

    @drop_locals_on_error
    async def _wait(self, request_context: RequestContext, num_calls: int) -> None:
        group = _Group(request_context, num_calls, asyncio.get_running_loop().create_future())
        self._patient.add(request_context.api_key_id, group)
        self._let_in()
        try:
            await group.turn
        except asyncio.CancelledError:
            if (
                not self._patient.remove(request_context.api_key_id, group)
                and not group.turn.cancelled()
            ):
                group.turn.exception()  # or asyncio would log that nobody has seen it
            raise

    def _look_again(self) -> None:
        self._looks_again = False
        self._let_in()

    def _let_in(self) -> None:
        """Those whose turn it is, as long as there is room for one."""
        while group := self._next():
            self._patient.pop(group.request_context.api_key_id)
            if group.turn.done():  # its caller has left, and has not run yet
                continue
            try:
                self._enter(group.request_context, group.num_calls)
            except Overloaded as error:
                group.turn.set_exception(error)
            else:
                group.turn.set_result(None)

    def _next(self) -> _Group | None:
        firsts = self._patient.firsts()
        return next(
            (group for group in firsts if not self._full(group.request_context.api_key_id)), None
        )

    def _enter(self, request_context: RequestContext, num_calls: int) -> None:
        """There is room; is there time?"""
        remaining_s = request_context.ends_at - asyncio.get_running_loop().time()
        wait_s, judging_s = self._expected_wait_s(request_context.api_key_id), self._judging_s()
        if wait_s and wait_s + judging_s > remaining_s:
            raise Overloaded(
                f"about {wait_s:.1f} s of waiting and {judging_s:.1f} s of judging do not fit "
                f"the {remaining_s:.1f} s that are left: raise deadline_s, or ask again later",
                retry_after_s=max(1.0, wait_s),
            )
        self._unqueued[request_context.api_key_id] += num_calls
        self._forget_later(request_context.api_key_id, num_calls, _PASSES_TO_QUEUE)

    def _forget_later(self, key: str, num_calls: int, passes: int) -> None:
        """Stop counting calls as yet to queue after so many passes of the event loop, because a
        group that fails before its calls queue would otherwise count for ever."""
        if passes:
            asyncio.get_running_loop().call_soon(self._forget_later, key, num_calls, passes - 1)
        elif key in self._unqueued:
            self.note_queued(key, num_calls)
            self.changed()

    def note_queued(self, key: str, num_calls: int = 1) -> None:
        """Stop counting calls as yet to queue, because they queue now."""
        self._unqueued[key] -= num_calls
        if self._unqueued[key] <= 0:
            del self._unqueued[key]

    def _expected_wait_s(self, key: str) -> float:
        return sum(queue.expected_wait_s(key, self._unqueued) for queue in self._queues)

    def _full(self, key: str) -> bool:
        """Whether a group of this key would be one too many. Where others fill the line, a key
        still has its share of it."""
        if self.num_waiting < self._max_waiting:
            return False
        keys = {key}.union(self._unqueued, *(queue.turns.keys for queue in self._queues))
        own = self._unqueued[key] + sum(q.turns.number_of(key) for q in self._queues)
        return own >= self._max_waiting / len(keys)
