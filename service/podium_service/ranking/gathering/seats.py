"""Hold the seats of a group whose members arrive one by one. Pure: no clock, no event loop.

A seat is one place in a group of a known size. It belongs to whoever asked last about its attempt:

    FREE --an attempt arrives--> TAKEN --its connection ends before the answer--> LEFT
                                   ^                                                |
                                   +----------- the same attempt arrives again -----+
    TAKEN --its connection gets the answer--> ANSWERED

An attempt with a name (verl's, NeMo-Gym's) always has the seat of that name. One without (OpenRLHF
and slime send none) has the seat that an equal attempt has LEFT, because it is that attempt's
retry; an equal attempt whose connection is still open is another sample, and takes a seat of its
own. An attempt that was left stays in the group, because it was sampled all the same.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from podium_service.errors import GroupIncomplete, InvalidRequest, PodiumError
from podium_service.schemas import Ranking, RankRequest, Trajectory

_MAY_DIFFER = {"metadata", "deadline_s"}


@dataclass(frozen=True)
class Terms:
    """The terms that all members of a group must agree on.

    Attributes:
        group_size: number of seats.
        min_members: number of members that are ranked when the patience ends; the size if all must
            be there.
        patience_s: seconds from the first member's arrival until the group is given up.
        is_unique: whether the key names this group alone, and no later group will have it.
        shared: the fields of the request to rank, except `trajectories`, and the `anchor`; those
            that no judge sees may differ, and the first member's are taken.
    """

    group_size: int
    min_members: int
    patience_s: float
    is_unique: bool
    shared: dict[str, Any]

    def require_equal(self, other: "Terms") -> None:
        """Raise InvalidRequest that names the first field in which another member differs."""
        for name in ("group_size", "min_members", "patience_s"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise _disagreement(name, f"this member says {theirs}, an earlier one {ours}")
        for name in sorted((self.shared.keys() | other.shared.keys()) - _MAY_DIFFER):
            if self.shared.get(name) != other.shared.get(name):
                raise _disagreement(name, "this member sends another value than an earlier one")


def _disagreement(name: str, what: str) -> InvalidRequest:
    rule = f"{what}: the members of a group must agree"
    return InvalidRequest(f"{name}: {rule}", fields=[{"field": name, "rule": rule}])


@dataclass(eq=False)
class Seat:
    """One seat.

    Attributes:
        id: the trajectory's id in the request to rank.
        is_named: whether the attempt has a name, which is its id.
        fingerprint: hash of the attempt, by which a retry is known.
        num_waiting: open connections that wait for its answer.
        answered: whether a connection has got the answer.
    """

    id: str
    is_named: bool
    fingerprint: bytes
    trajectory: Trajectory | None
    num_waiting: int = 0
    answered: bool = False

    @property
    def is_left(self) -> bool:
        return not (self.num_waiting or self.answered)


@dataclass(eq=False)
class Gathering:
    """One group while it gathers, is ranked, and waits for late retries.

    Attributes:
        outcome: the ranking, or why there is none; None until then.
        is_closed: whether no seat can be taken any more, because the group is being ranked.
        num_desertions: how often the last connection that waited has ended.
    """

    terms: Terms
    opened_at: float
    seats: list[Seat] = field(default_factory=list)
    outcome: Ranking | PodiumError | None = None
    is_closed: bool = False
    num_desertions: int = 0

    @property
    def is_whole(self) -> bool:
        return len(self.seats) == self.terms.group_size

    @property
    def num_waiting(self) -> int:
        return sum(seat.num_waiting for seat in self.seats)

    @property
    def may_be_forgotten(self) -> bool:
        """Whether no retry can ask for an answer: all are answered, and none has a name."""
        return all(seat.answered and not seat.is_named for seat in self.seats)

    def find_seat(self, name: str | None, fingerprint: bytes) -> Seat | None:
        """Return the seat that an attempt has already; None if it has none in this group.

        Raises:
            InvalidRequest: If another attempt of the same name is in the group.
        """
        if name is None:
            same = (seat for seat in self.seats if seat.fingerprint == fingerprint)
            return next((seat for seat in same if seat.is_left), None)
        seat = next((seat for seat in self.seats if seat.id == name), None)
        if seat is None or seat.fingerprint == fingerprint:
            return seat
        if self.outcome is not None and not self.terms.is_unique:
            return None  # a later epoch uses the name again
        raise InvalidRequest(
            f"member {name[:64]!r} was sent before with another attempt: give each its own name",
            fields=[{"field": "member", "rule": "names one attempt of its group"}],
        )

    def take_seat(self, name: str | None, fingerprint: bytes, trajectory: Trajectory) -> Seat:
        """Add a seat for an attempt that has none."""
        seat_id = f"seat-{len(self.seats)}" if name is None else name
        own = trajectory.model_copy(update={"id": seat_id})
        seat = Seat(seat_id, name is not None, fingerprint, own)
        self.seats.append(seat)
        return seat

    def request(self) -> RankRequest:
        """Return the request to rank the members that are there, and their anchor."""
        fields = dict(self.terms.shared)
        anchor = fields.pop("anchor", None)
        ranked = [seat.trajectory for seat in self.seats] + ([anchor] if anchor else [])
        return RankRequest.model_validate({**fields, "trajectories": ranked})

    def close(self) -> None:
        """Take no more members; their texts are no longer needed, their fingerprints are."""
        self.is_closed = True
        for seat in self.seats:
            seat.trajectory = None

    def incomplete(self) -> GroupIncomplete:
        terms = self.terms
        return GroupIncomplete(
            f"{len(self.seats)} of {terms.group_size} members came in {terms.patience_s:g} s: look "
            "why the others did not, give more patience_s, or set min_members to rank fewer"
        )

    def late(self) -> GroupIncomplete:
        return GroupIncomplete(
            f"the group of {self.terms.group_size} is over, and this member was not in it: give "
            "more patience_s, or name the group of each step anew"
        )


def fingerprint(trajectory: Trajectory) -> bytes:
    """Return a hash of an attempt without its id."""
    text = trajectory.model_dump_json(exclude={"id"})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
