"""Attempts against passes: what each pass of a judge said about each attempt, in which slot."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from podium_service.pages.attempts import Attempt
from podium_service.schemas.history import CallView


@dataclass(frozen=True)
class Cell:
    """The score and the words of one pass about one attempt; `heat` is its score in tenths."""

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


def build_matrix(
    attempts: Sequence[Attempt], calls: Sequence[CallView], jurors: Sequence[str] = ()
) -> Matrix | None:
    """Return the scores of all passes by attempt; None if no pass gave any.

    The columns of `jurors` stand in this order.
    """
    by_judge: dict[str, list[CallView]] = {name: [] for name in jurors}
    for call in calls:
        if call.scores:
            by_judge.setdefault(call.judge, []).append(call)
    by_judge = {name: some for name, some in by_judge.items() if some}
    if not by_judge:
        return None
    passes = [
        call
        for some in by_judge.values()
        for call in sorted(some, key=lambda call: (call.pass_index, call.at))
    ]
    rows = [_row(attempt, passes) for attempt in attempts]
    columns = [(judge, len(some)) for judge, some in by_judge.items()]
    return Matrix(passes, columns, rows, find_slot_effects(passes))


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
