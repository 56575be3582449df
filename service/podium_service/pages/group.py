"""The page of one group: its attempts side by side, and how each pass of the judge saw them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import orjson

from podium_service.pages.conversation import (
    Message,
    Turn,
    count_shared,
    count_written,
    read_turns,
)
from podium_service.pages.frame import Frame, render
from podium_service.schemas import Ranking, TrajectoryResult
from podium_service.schemas.history import CallView, RankingDetail, RankingSummary, SentGroup

MAX_SIDE_BY_SIDE = 6
_MAX_CURL_CHARS = 64 * 1024


@dataclass(frozen=True)
class Attempt:
    """One trajectory with its result.

    Attributes:
        place: its position when all are sorted by rank, from 1; the key that jumps to it.
        turns: what comes after the shared prompt; None if its texts were not kept.
        same_as: the id of the attempt that it equals and that stands for it in the passes.
    """

    place: int
    id: str
    result: TrajectoryResult | None
    turns: list[Turn] | None
    length: int | None
    finish_reason: str | None
    verified_reward: float | None
    same_as: str | None

    @property
    def is_cut_off(self) -> bool:
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Cell:
    """What one pass said about one attempt; `heat` is its score in tenths."""

    score: float
    slot: int
    sentence: str

    @property
    def heat(self) -> int:
        return min(10, max(0, round(10 * self.score)))


@dataclass(frozen=True)
class Row:
    """One attempt over all passes."""

    attempt: Attempt
    cells: list[Cell | None]
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class SlotEffect:
    """By how much attempts in one slot scored more than they did on average."""

    slot: int
    effect: float
    number: int


@dataclass(frozen=True)
class Matrix:
    """Attempts against passes.

    Attributes:
        passes: the calls of the columns, those of one juror side by side.
        jurors: the name of each juror, and how many columns it has; one if there is no jury.
        slots: how the judge likes each slot of the list; empty if all slots cannot be compared.
    """

    passes: list[CallView]
    jurors: list[tuple[str, int]]
    rows: list[Row]
    slots: list[SlotEffect]


def render_group(
    frame: Frame,
    detail: RankingDetail,
    calls: Sequence[CallView],
    *,
    picked: Sequence[str] = (),
    neighbours: tuple[RankingSummary | None, RankingSummary | None] = (None, None),
    reward_method: str | None = None,
    **actions: Any,
) -> str:
    """Return the page of one group.

    Args:
        picked: ids of the attempts to show side by side, of a group of more than six.
        neighbours: the groups of the same prompt before and after.
        reward_method: how the judge's settings make a reward of a score, if they are known.
        actions: what the templates of the actions need, which pages without a service have not.
    """
    attempts = read_attempts(detail, calls)
    return render(
        "group",
        frame,
        detail=detail,
        summary=detail.summary,
        ranking=detail.ranking,
        attempts=attempts,
        chosen=attempts if frame.files is not None else choose(attempts, picked),
        prompt=read_turns(shared_messages(detail.request)),
        matrix=build_matrix(attempts, calls),
        calls=calls,
        reason=explain_reward(detail.ranking, reward_method) if detail.ranking else "",
        neighbours=neighbours,
        curl=curl_command(detail, frame.base_url),
        metadata_json=to_json(detail.metadata or {}),
        max_side_by_side=MAX_SIDE_BY_SIDE,
        is_picking=frame.files is None and len(attempts) > MAX_SIDE_BY_SIDE,
        **({"again": None, "note": "", "order": None} | actions),
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
    return [
        Attempt(
            place=place,
            id=each,
            result=results.get(each),
            turns=read_turns(sent[each].messages[shared:]) if each in sent else None,
            length=count_written(sent[each].messages) if each in sent else lengths.get(each),
            finish_reason=sent[each].finish_reason if each in sent else None,
            verified_reward=sent[each].verified_reward if each in sent else None,
            same_as=twins.get(each),
        )
        for place, each in enumerate(order, 1)
    ]


def build_matrix(attempts: Sequence[Attempt], calls: Sequence[CallView]) -> Matrix | None:
    """Return the scores of all passes by attempt; None if no pass gave any."""
    by_judge: dict[str, list[CallView]] = defaultdict(list)
    for call in calls:
        if call.scores:
            by_judge[call.judge].append(call)
    if not by_judge:
        return None
    passes = [
        call
        for some in by_judge.values()
        for call in sorted(some, key=lambda call: (call.pass_index, call.at))
    ]
    rows = [_row(attempt, passes) for attempt in attempts]
    jurors = [(judge, len(some)) for judge, some in by_judge.items()]
    return Matrix(passes, jurors, rows, find_slot_effects(passes))


def find_slot_effects(passes: Sequence[CallView]) -> list[SlotEffect]:
    """Return how much more than its own mean an attempt scores in each slot.

    Empty unless all passes list the same number of attempts and each slot holds two or more of
    them over the passes.
    """
    sizes = {len(call.order) for call in passes}
    if len(passes) < 2 or len(sizes) != 1 or sizes <= {1}:
        return []
    scores: dict[str, list[float]] = defaultdict(list)
    for call in passes:
        for each, score in call.scores.items():
            scores[each].append(score)
    means = {each: fmean(some) for each, some in scores.items()}
    found: dict[int, list[float]] = defaultdict(list)
    for call in passes:
        for slot, each in enumerate(call.order, 1):
            if each in call.scores:
                found[slot].append(call.scores[each] - means[each])
    return [SlotEffect(slot, fmean(some), len(some)) for slot, some in sorted(found.items())]


def explain_reward(ranking: Ranking, reward_method: str | None = None) -> str:
    """Return one sentence on how the rewards of a ranking came about."""
    by_basis = {
        "identical": "All attempts are identical: no judge was asked, and their rewards are equal.",
        "alone": "There was no other attempt to compare with, so no judge was asked.",
        "all_gated": "Every attempt failed a gate, so no judge was asked.",
    }
    if ranking.basis != "judged":
        return by_basis[ranking.basis]
    if ranking.method == "checks":
        return "Deterministic checks scored each attempt; no model was asked."
    passes = f"{ranking.passes} pass{'' if ranking.passes == 1 else 'es'}"
    sentences = [f"{passes} over the attempts ({ranking.method}), each in an order of its own"]
    if ranking.jurors:
        counted = sum(each.status == "counted" for each in ranking.jurors)
        sentences[0] = f"{counted} of {len(ranking.jurors)} jurors counted, {passes} in all"
    if ranking.reliability is not None:
        sentences.append(
            f"{100 * ranking.reliability:.0f}% of the differences between the scores are signal, "
            "so they shrink by the rest"
        )
    meaning = {
        "win_probability": "a reward is the chance to beat a random other attempt of this group",
        "rank": "a reward is the attempt's rank, scaled to [0, 1]",
        "score": "a reward is the score itself",
    }
    if reward_method in meaning:
        sentences.append(meaning[reward_method])
    if any(each.flags and each.reward == 0 for each in ranking.results):
        sentences.append("attempts that failed a gate get 0")
    return "; ".join(sentences) + "."


def choose(attempts: Sequence[Attempt], picked: Sequence[str]) -> list[Attempt]:
    """Return the attempts to show side by side: all of a small group, else the picked ones.

    Without any picked, these are the first and the last.
    """
    if len(attempts) <= MAX_SIDE_BY_SIDE:
        return list(attempts)
    chosen = [each for each in attempts if each.id in picked][:MAX_SIDE_BY_SIDE]
    return chosen or [attempts[0], attempts[-1]]


def shared_messages(request: SentGroup | None) -> list[Message]:
    """Return the messages with which all attempts begin."""
    if request is None or not request.trajectories:
        return []
    return request.trajectories[0].messages[: _shared(request)]


def curl_command(detail: RankingDetail, base_url: str) -> str | None:
    """Return the command that sends a group again; None if its texts are not kept or very long.

    All characters but ASCII are escapes, so that none can hide in a terminal.
    """
    if detail.request is None:
        return None
    body = detail.request.model_dump(exclude_none=True)
    if detail.metadata:
        body["metadata"] = detail.metadata
    sent = to_json(body, ensure_ascii=True)
    if len(sent) > _MAX_CURL_CHARS:
        return None
    return (
        f"curl {base_url}/v1/rank -H 'Content-Type: application/json' "
        "-H \"Authorization: Bearer $PODIUM_API_KEY\" --data-binary @- <<'GROUP'\n"
        f"{sent}\nGROUP"
    )


def to_json(value: Any, *, ensure_ascii: bool = False) -> str:
    return json.dumps(value, indent=1, ensure_ascii=ensure_ascii)


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


def _row(attempt: Attempt, passes: Sequence[CallView]) -> Row:
    name = attempt.same_as or attempt.id
    cells = [
        Cell(
            score=call.scores[name],
            slot=call.order.index(name) + 1 if name in call.order else 0,
            sentence=call.explanations.get(name, ""),
        )
        if name in call.scores
        else None
        for call in passes
    ]
    scores = [cell.score for cell in cells if cell]
    return Row(
        attempt,
        cells,
        fmean(scores) if scores else None,
        stdev(scores) if len(scores) > 1 else None,
    )
