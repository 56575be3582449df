"""Show what people said about a group: orders of their own, and notes."""

from collections.abc import Sequence
from dataclasses import dataclass

from podium_service.pages.attempts import Attempt
from podium_service.pages.operation.compare import tau_b
from podium_service.schemas import Ranking
from podium_service.schemas.people import MAX_NOTE_CHARS
from podium_service.store.people.gold import GoldOrder
from podium_service.store.people.notes import Note
from podium_service.store.people.person import Person

_EXCERPT_CHARS = 160


@dataclass(frozen=True)
class Item:
    """One attempt in a person's order.

    Attributes:
        index: its position in the request, which the form sends in place of its id.
        place: where it stands, from 1; equal ones share the first of their places.
        excerpt: how its last words begin.
    """

    index: int
    id: str
    place: int
    is_tied: bool
    excerpt: str


@dataclass(frozen=True)
class Said:
    """A person's order; `tau` is how far the judge's rewards agree with it."""

    order: GoldOrder
    is_own: bool
    tau: float | None


@dataclass(frozen=True)
class People:
    """The contents of the sections on people's words.

    Attributes:
        items: the attempts in the reader's own order, else in the judge's; empty where nobody may
            give one.
        said: the orders of all people.
        refusal: why this group cannot be ordered; "" if it can.
        person: who looks; None where nobody may act.
        order_problem, note_problem: why the last form was refused; "" if it was not.
        draft: the text of a note that was refused.
    """

    items: Sequence[Item] = ()
    said: Sequence[Said] = ()
    notes: Sequence[Note] = ()
    refusal: str = ""
    person: Person | None = None
    may_remove_all: bool = False
    order_problem: str = ""
    note_problem: str = ""
    draft: str = ""
    max_note_chars: int = MAX_NOTE_CHARS

    @property
    def has_own(self) -> bool:
        return any(each.is_own for each in self.said)

    def may_remove(self, note: Note) -> bool:
        """Return whether who looks may delete a note."""
        if self.person is None:
            return False
        return self.may_remove_all or note.person.api_key_id == self.person.api_key_id


def list_said(
    orders: Sequence[GoldOrder], ranking: Ranking | None, person: Person | None
) -> list[Said]:
    """Return people's orders, with how far a ranking agrees with each."""
    rewards = [each.reward for each in ranking.results] if ranking else []
    return [
        Said(
            each,
            is_own=person is not None and each.person.api_key_id == person.api_key_id,
            tau=tau_b([-rank for rank in each.ranks], rewards)
            if len(rewards) == len(each.ranks)
            else None,
        )
        for each in orders
    ]


def list_items(
    attempts: Sequence[Attempt], ids: Sequence[str], own: GoldOrder | None
) -> list[Item]:
    """Return the attempts as a person ordered them, else by the judge's ranks.

    Args:
        attempts: of the group, the best first.
        ids: of the attempts, in the order of the request.
        own: the order; its attempts may have other ids, in the same places.
    """
    if own:
        ranks = dict(zip(ids, own.ranks, strict=True))
    else:
        ranks = {each.id: each.result.rank if each.result else 0.0 for each in attempts}
        if not any(ranks.values()):
            ranks = {name: float(place) for place, name in enumerate(ids, 1)}
    excerpts = {each.id: _excerpt(each) for each in attempts}
    ordered = sorted(ids, key=lambda name: ranks[name])
    items: list[Item] = []
    for place, name in enumerate(ordered, 1):
        is_tied = bool(items) and ranks[name] == ranks[items[-1].id]
        own_place = items[-1].place if is_tied else place
        items.append(Item(ids.index(name), name, own_place, is_tied, excerpts.get(name, "")))
    return items


def read_tiers(
    ids: Sequence[str], indices: Sequence[str], places: Sequence[str]
) -> list[list[str]]:
    """Return the tiers that a form sends, best first; equal places are one tier.

    Args:
        ids: of the attempts, in the order of the request.
        indices: positions in it, as sent.
        places: the place of each, as sent.

    Raises:
        ValueError: If one of them is no number, or there is no attempt at a position.
    """
    if len(indices) != len(places):
        raise ValueError("each attempt needs a place")
    tiers: dict[int, list[str]] = {}
    for index, place in zip(indices, places, strict=True):
        if not place.isdecimal():
            raise ValueError(f"a place must be a number, not {place[:8]!r}")
        if not index.isdecimal() or int(index) >= len(ids):
            raise ValueError(f"there is no attempt {index[:8]}")
        tiers.setdefault(int(place), []).append(ids[int(index)])
    return [tiers[place] for place in sorted(tiers)]


def _excerpt(attempt: Attempt) -> str:
    texts = [turn.text for turn in attempt.turns or () if turn.text]
    last = " ".join(texts[-1].split()) if texts else ""
    return last[:_EXCERPT_CHARS] + ("…" if len(last) > _EXCERPT_CHARS else "")
