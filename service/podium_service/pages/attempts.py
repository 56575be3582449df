"""The attempts of a group with their results, in the order in which a page shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from podium_service.pages.texts.conversation import (
    Message,
    Turn,
    count_shared,
    count_written,
    read_turns,
)
from podium_service.pages.texts.marks import is_marked
from podium_service.pages.texts.seen import Shown, annotate, find_shown
from podium_service.schemas import TrajectoryResult
from podium_service.schemas.history import CallView, RankingDetail, SentGroup


@dataclass(frozen=True)
class Attempt:
    """One trajectory with its result.

    Attributes:
        place: its position when all are sorted by rank, from 1; the key that jumps to it.
        turns: what comes after the shared prompt; None if its texts were not kept.
        same_as: the id of the attempt that it equals and that stands for it in the passes.
        shown: what the judge saw of it; None if no kept prompt shows it.
    """

    place: int
    id: str
    result: TrajectoryResult | None
    turns: list[Turn] | None
    length: int | None
    finish_reason: str | None
    verified_reward: float | None
    same_as: str | None
    shown: Shown | None = None

    @property
    def is_cut_off(self) -> bool:
        return self.finish_reason == "length"

    @property
    def is_gated(self) -> bool:
        """Whether it failed a gate, so that the judge did not see it."""
        return any(each.startswith("gate:") for each in self.flags)

    @property
    def flags(self) -> list[str]:
        return self.result.flags if self.result else []

    @property
    def is_marked(self) -> bool:
        """Whether a text of it has marks."""
        return any(
            is_marked(text)
            for turn in self.turns or ()
            for text in (turn.text, *(part for use in turn.tools for part in use.texts))
        )


def read_attempts(detail: RankingDetail, calls: Sequence[CallView]) -> list[Attempt]:
    """Return the attempts of a group, the best first; in the order of the request if it failed."""
    results = {each.id: each for each in detail.ranking.results} if detail.ranking else {}
    sent = {each.id: each for each in detail.request.trajectories} if detail.request else {}
    shared = _shared(detail.request) if detail.request else 0
    ids = detail.summary.ids
    order = sorted(ids, key=lambda each: results[each].rank if each in results else 0.0)
    lengths = dict(zip(ids, detail.summary.lengths or [], strict=False))
    twins = _find_twins(detail, calls)
    seen = find_shown(calls)

    def own_turns(name: str) -> list[Turn]:
        turns = read_turns(sent[name].messages[shared:])
        flags = results[name].flags if name in results else ()
        return annotate(turns, flags, seen.get(twins.get(name, name)))

    return [
        Attempt(
            place=place,
            id=each,
            result=results.get(each),
            turns=own_turns(each) if each in sent else None,
            length=count_written(sent[each].messages) if each in sent else lengths.get(each),
            finish_reason=sent[each].finish_reason if each in sent else None,
            verified_reward=sent[each].verified_reward if each in sent else None,
            same_as=twins.get(each),
            shown=seen.get(twins.get(each, each)),
        )
        for place, each in enumerate(order, 1)
    ]


def shared_messages(request: SentGroup | None) -> list[Message]:
    """Return the messages with which all attempts begin."""
    if request is None or not request.trajectories:
        return []
    return request.trajectories[0].messages[: _shared(request)]


def _shared(request: SentGroup) -> int:
    return count_shared([each.messages for each in request.trajectories])


def _find_twins(detail: RankingDetail, calls: Sequence[CallView]) -> Mapping[str, str]:
    """Return the attempt that stands for each one that the judge was not shown itself."""
    shown = {each for call in calls for each in call.scores}
    if not detail.request or not shown:
        return {}
    texts = {each.id: orjson.dumps(each.messages) for each in detail.request.trajectories}
    by_text = {texts[each]: each for each in shown if each in texts}
    return {
        each: by_text[text] for each, text in texts.items() if each not in shown and text in by_text
    }
