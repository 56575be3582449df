"""Admit groups to a judge, or refuse them before anything is spent on them.

admit ──fewer than max_waiting calls wait──► time left? ──yes──► admitted
  └──full──► patient group: waits its turn ──┘   └──no──► Overloaded
          └► any other: Overloaded
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podium_service.errors import Overloaded
from podium_service.judges.dispatch.fair_queue import CallQueue, FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.telemetry.tracebacks import drop_locals_on_error

# Passes of the event loop until an admitted group's calls have queued: the group resumes, starts a
# task a call, and each of those may start another one so as to hedge; one more to be safe.
_PASSES_TO_QUEUE = 4


@dataclass(slots=True, eq=False)
class _PatientGroup:
    request_context: RequestContext
    num_calls: int
    admitted: asyncio.Future[None]


class Admission:
    """The admission of groups to one judge, while fewer than `max_waiting` calls wait.

    So no more calls wait than that and the calls of a few groups: the last one admitted, and those
    whose calls took so long to queue that they are no longer counted. A call that is admitted and
    has yet to queue counts as waiting unless there is a free place for it. Beyond the bound, each
    API key still has its share.

    Args:
        queues: where calls wait, one after the other.
        call_s: returns how many seconds a call takes once it has left the queues.
    """

    def __init__(
        self, queues: Sequence[CallQueue], max_waiting: int, call_s: Callable[[], float]
    ) -> None:
        self._queues = queues
        self._max_waiting = max_waiting
        self._call_s = call_s
        self._unqueued: Counter[str] = Counter()  # by API key; no key without unqueued calls
        self._patient: FairQueue[_PatientGroup] = FairQueue()
        self._check_scheduled = False

    @property
    def num_queued(self) -> int:
        """The calls in the queues."""
        return sum(queue.num_waiting for queue in self._queues)

    @property
    def num_waiting(self) -> int:
        """The calls in the queues, and those yet to queue that will have to wait there."""
        num_free = min(queue.num_free for queue in self._queues)
        return self.num_queued + int(max(0, self._unqueued.total() - num_free))

    def notify_change(self) -> None:
        """Check soon whether a patient group can be admitted, because a queue's length changed.

        It is not checked at once, because a call may be on its way from one queue to the next.
        """
        if self._patient.num_waiting and not self._check_scheduled:
            self._check_scheduled = True
            asyncio.get_running_loop().call_soon(self._admit_patient)

    def note_queued(self, key: str, num_calls: int = 1) -> None:
        """Count calls of an API key no longer as yet to queue, because they queue now."""
        self._unqueued[key] -= num_calls
        if self._unqueued[key] <= 0:
            del self._unqueued[key]

    async def admit(self, request_context: RequestContext, num_calls: int) -> None:
        """Admit a group that is about to make so many calls at once.

        A patient group waits: API keys take turns, and groups of one key are admitted in order.

        Raises:
            Overloaded: If too many calls wait and the group is not patient, or too many for it to
                be ranked by its deadline.
        """
        key = request_context.api_key_id
        if request_context.patient:
            await self._wait(request_context, num_calls)
        elif self._is_full(key):
            raise Overloaded(
                f"{self.num_waiting} judge calls wait, and at most {self._max_waiting} may: "
                "ask again later, or raise the judge's queue or concurrency",
                retry_after_s=max(1.0, self._expected_wait_s(key)),
            )
        else:
            self._admit_in_time(request_context, num_calls)

    @drop_locals_on_error
    async def _wait(self, request_context: RequestContext, num_calls: int) -> None:
        key = request_context.api_key_id
        admitted = asyncio.get_running_loop().create_future()
        group = _PatientGroup(request_context, num_calls, admitted)
        self._patient.add(key, group)
        self._admit_patient()
        try:
            await admitted
        except asyncio.CancelledError:
            if not self._patient.remove(key, group) and not admitted.cancelled():
                admitted.exception()  # because asyncio logs an error that nobody has read
            raise

    def _admit_patient(self) -> None:
        """Admit or refuse patient groups until the queues are full."""
        self._check_scheduled = False
        while (key := self._next_patient_key()) is not None:
            group = self._patient.pop(key)
            if group.admitted.done():  # because it was cancelled and has not run since
                continue
            try:
                self._admit_in_time(group.request_context, group.num_calls)
            except Overloaded as error:
                group.admitted.set_exception(error)
            else:
                group.admitted.set_result(None)

    def _next_patient_key(self) -> str | None:
        return next((key for key in self._patient.keys if not self._is_full(key)), None)

    def _admit_in_time(self, request_context: RequestContext, num_calls: int) -> None:
        """Admit a group if its first calls can be made before its deadline, else refuse it."""
        key = request_context.api_key_id
        remaining_s = request_context.ends_at - asyncio.get_running_loop().time()
        wait_s, call_s = self._expected_wait_s(key), self._call_s()
        if wait_s and wait_s + call_s > remaining_s:
            raise Overloaded(
                f"about {wait_s:.1f} s of waiting and {call_s:.1f} s of judging do not fit "
                f"the {remaining_s:.1f} s that are left: raise deadline_s, or ask again later",
                retry_after_s=max(1.0, wait_s),
            )
        self._unqueued[key] += num_calls
        self._forget_unqueued(key, num_calls, _PASSES_TO_QUEUE)

    def _forget_unqueued(self, key: str, num_calls: int, passes: int) -> None:
        """Count calls no longer as yet to queue, after so many passes of the event loop.

        Otherwise the calls of a group that fails before they queue would count for ever.
        """
        if passes:
            asyncio.get_running_loop().call_soon(self._forget_unqueued, key, num_calls, passes - 1)
        elif key in self._unqueued:
            self.note_queued(key, num_calls)
            self.notify_change()

    def _expected_wait_s(self, key: str) -> float:
        return sum(queue.expected_wait_s(key, self._unqueued) for queue in self._queues)

    def _is_full(self, key: str) -> bool:
        """Return whether a group of this API key must wait or be refused.

        A key has its share of the calls that may wait, even if those of others exceed theirs.
        """
        if self.num_waiting < self._max_waiting:
            return False
        keys = {key}.union(self._unqueued, *(queue.waiters.keys for queue in self._queues))
        own = self._unqueued[key] + sum(queue.waiters.count(key) for queue in self._queues)
        return own >= self._max_waiting / len(keys)
