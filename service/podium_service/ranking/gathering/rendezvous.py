"""Wait until all members of a group are there, rank it once, and answer each of them.

    OPEN --whole, or the patience ends with min_members--> RANKING --> DONE, kept for late retries
      |                                                                   ^
      +--the patience ends with fewer members: group_incomplete-----------+
      +--nobody waits for RETURN_S--> forgotten

A group is ranked by a task of its own, so that a member whose connection ends costs nothing: its
retry gets the answer. A failure that may pass is not kept, so that members who ask again form the
group again; verdicts that were paid for come from the store. All groups of one `Rendezvous` are in
one process.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import structlog

from podium_service.errors import Draining, Overloaded, PodiumError
from podium_service.ranking.gathering.seats import Gathering, Seat, Terms, fingerprint
from podium_service.schemas import Ranking, RankRequest, Trajectory
from podium_service.telemetry.logs import report_bug

RETURN_S = 45.0  # longer than any known trainer waits between two attempts (slime: 31 s)
KEEP_S = 900.0  # as long as trainers retry: five times 180 s (OpenRLHF)
MAX_GROUPS = 65_536

Rank = Callable[[RankRequest], Coroutine[Any, Any, Ranking]]

log = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """The answer to one member.

    Attributes:
        member: the id of its result in the ranking.
        result: the ranking of its group, or why there is none.
        opened_at: when the first member of its group came, on the event loop's clock.
    """

    member: str
    result: Ranking | PodiumError
    opened_at: float


class Rendezvous:
    """The groups that gather in this process.

    Args:
        return_s: seconds for which a group without connections waits for one to return.
        keep_s: seconds for which an answer is kept for late retries.
    """

    def __init__(self, return_s: float = RETURN_S, keep_s: float = KEEP_S) -> None:
        self._return_s = return_s
        self._keep_s = keep_s
        self._gatherings: dict[str, list[Gathering]] = {}
        self._done: dict[Gathering, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Gathering, asyncio.TimerHandle] = {}

    def count_members(self) -> int:
        """Return the number of connections that wait for their group."""
        return sum(gathering.num_waiting for gathering in self._done)

    def count_groups(self) -> int:
        """Return the number of groups that gather, are ranked or are kept."""
        return len(self._done)

    async def join(
        self, key: str, terms: Terms, name: str | None, trajectory: Trajectory, rank: Rank
    ) -> Outcome:
        """Add an attempt to its group, and wait for the group's outcome.

        Args:
            key: what the members of the group have in common.
            terms: what they must agree on.
            name: the attempt's name, unique in its group; None for an attempt that has none.
            trajectory: the attempt.
            rank: ranks the group, if this is the member that opens it.

        Raises:
            InvalidRequest: If the member disagrees with earlier members, or its name is taken.
            GroupIncomplete: If the group, which has a key of its own, is over.
            Overloaded: If `MAX_GROUPS` groups are gathering.
        """
        gathering, seat = self._find_seat(key, terms, name, trajectory, rank)
        seat.num_waiting += 1
        try:
            if gathering.is_whole and not gathering.is_closed:
                self._start(key, gathering, rank)
            await self._done[gathering].wait()
            seat.answered = True
        finally:
            seat.num_waiting -= 1
            self._note_departure(key, gathering)
        assert gathering.outcome is not None
        return Outcome(seat.id, gathering.outcome, gathering.opened_at)

    async def aclose(self) -> None:
        """End all groups; members that still wait are told that the service stops."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for gathering, done in list(self._done.items()):
            if gathering.outcome is None:
                gathering.outcome = Draining("the service stops before the group was ranked")
            done.set()

    def _find_seat(
        self, key: str, terms: Terms, name: str | None, trajectory: Trajectory, rank: Rank
    ) -> tuple[Gathering, Seat]:
        mark = fingerprint(trajectory)
        gatherings = self._gatherings.get(key, [])
        for gathering in gatherings:
            if seat := gathering.find_seat(name, mark):
                return gathering, seat
        for gathering in gatherings:
            if not gathering.is_closed:
                gathering.terms.require_equal(terms)
                return gathering, gathering.take_seat(name, mark, trajectory)
        if gatherings and terms.is_unique:
            raise gatherings[-1].late()
        gathering = self._open(key, terms, rank)
        return gathering, gathering.take_seat(name, mark, trajectory)

    def _open(self, key: str, terms: Terms, rank: Rank) -> Gathering:
        if len(self._done) >= MAX_GROUPS:
            raise Overloaded(
                f"{MAX_GROUPS} groups gather or are kept: send this again later", retry_after_s=5.0
            )
        loop = asyncio.get_running_loop()
        gathering = Gathering(terms, loop.time())
        self._gatherings.setdefault(key, []).append(gathering)
        self._done[gathering] = asyncio.Event()
        end = self._end_patience
        self._timers[gathering] = loop.call_later(terms.patience_s, end, key, gathering, rank)
        return gathering

    def _end_patience(self, key: str, gathering: Gathering, rank: Rank) -> None:
        if len(gathering.seats) >= gathering.terms.min_members:
            self._start(key, gathering, rank)
            return
        log.info("group_incomplete", present=len(gathering.seats), size=gathering.terms.group_size)
        gathering.close()
        self._finish(key, gathering, gathering.incomplete())

    def _start(self, key: str, gathering: Gathering, rank: Rank) -> None:
        """Rank the members that are there, in a task that no connection owns."""
        self._timers.pop(gathering).cancel()
        try:
            request = gathering.request()
        finally:
            gathering.close()
        task = asyncio.create_task(self._rank(key, gathering, rank(request)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rank(
        self, key: str, gathering: Gathering, work: Coroutine[Any, Any, Ranking]
    ) -> None:
        outcome: Ranking | PodiumError
        try:
            outcome = await work
        except PodiumError as error:
            outcome = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - a bug is the outcome of its group, too
            outcome = report_bug(error)
        self._finish(key, gathering, outcome)

    def _finish(self, key: str, gathering: Gathering, outcome: Ranking | PodiumError) -> None:
        gathering.outcome = outcome
        self._done[gathering].set()
        if isinstance(outcome, PodiumError) and outcome.retryable:
            self._forget(key, gathering)
        else:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._keep_s, self._forget, key, gathering)
            self._timers[gathering] = timer

    def _note_departure(self, key: str, gathering: Gathering) -> None:
        """Forget a group that nobody will ask for, now or if nobody returns."""
        if gathering.outcome is not None:
            if gathering.may_be_forgotten:
                self._forget(key, gathering)
        elif not gathering.num_waiting and not gathering.is_closed:
            gathering.num_desertions += 1
            asyncio.get_running_loop().call_later(
                self._return_s, self._forget_deserted, key, gathering, gathering.num_desertions
            )

    def _forget_deserted(self, key: str, gathering: Gathering, num_desertions: int) -> None:
        returned = gathering.num_waiting or gathering.num_desertions != num_desertions
        if not returned and not gathering.is_closed:
            self._forget(key, gathering)

    def _forget(self, key: str, gathering: Gathering) -> None:
        """Drop a group; connections that wait for it keep its outcome."""
        if self._done.pop(gathering, None) is None:
            return
        if timer := self._timers.pop(gathering, None):
            timer.cancel()
        gatherings = self._gatherings[key]
        gatherings.remove(gathering)
        if not gatherings:
            del self._gatherings[key]
