"""The page on which a person puts one group in order, without names, rewards or a judge's words."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podium_service.errors import InvalidRequest
from podium_service.pages.attempts import shared_messages
from podium_service.pages.frame import Frame, render
from podium_service.pages.texts.conversation import Turn, read_turns
from podium_service.schemas.history import RankingDetail


@dataclass(frozen=True)
class Hidden:
    """An attempt without its name; `index` is its position in the request."""

    place: int
    index: int
    turns: list[Turn]


def render_blind(
    frame: Frame, detail: RankingDetail, *, name: str, seed: str, done: int, groups: int
) -> str:
    """Return the page of one group.

    Args:
        name: of the set.
        seed: by which the attempts are shuffled, so that the page can be loaded again.
        done, groups: how many groups of the set are ordered, of how many.
    """
    return render(
        "blind",
        frame,
        ask=detail.summary.ask,
        request=detail.request,
        prompt=read_turns(shared_messages(detail.request)),
        attempts=shuffle(detail, seed),
        name=name,
        done=done,
        groups=groups,
    )


def shuffle(detail: RankingDetail, seed: str) -> list[Hidden]:
    """Return the attempts of a group in random order."""
    if detail.request is None:
        return []
    sent = detail.request.trajectories
    num_shared = len(shared_messages(detail.request))
    order = list(range(len(sent)))
    random.Random(seed).shuffle(order)
    return [
        Hidden(place, index, read_turns(sent[index].messages[num_shared:]))
        for place, index in enumerate(order, 1)
    ]


def read_tiers(ids: Sequence[str], places: Mapping[int, str]) -> list[list[str]]:
    """Return ids in tiers, best first, given the place that a form has for each index.

    Raises:
        InvalidRequest: If a place is missing or no number from 1 on.
    """
    tiers: dict[int, list[str]] = {}
    for index, name in enumerate(ids):
        text = places.get(index, "").strip()
        if not (text.isascii() and text.isdigit() and 0 < int(text[:4]) <= len(ids)):
            raise InvalidRequest(
                f"place {text[:16]!r}: give each attempt a place from 1 (best) to {len(ids)}; "
                "equal ones share a place"
            )
        tiers.setdefault(int(text[:4]), []).append(name)
    return [tiers[place] for place in sorted(tiers)]
