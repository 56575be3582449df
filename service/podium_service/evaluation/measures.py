"""One judged group -> numbers: how near to the truth, how steady. Pure; None where undefined.

A pass may show all of a group, a subset of two or more, or a single trajectory. To add a measure:
write a function `Judged -> float | None`, and enter it in `card.py` with the reason for its None.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from podium_service.scoring.bootstrap import Array

_GATED = -1.0  # below every score: the pipeline ranks what failed a gate last
_DIGITS = 9  # what differs less is rounding


@dataclass(frozen=True, slots=True)
class Pass:
    """One verdict: `scores[s]` is of the item `order[s]`, shown in slot s.

    `source` tells the judges of a jury apart: passes are compared within one source.
    """

    order: list[int]
    scores: list[float]
    source: str = ""


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """One group: its distinct trajectories ("items"), what is true and what the judge said.

    Attributes:
        labels: the truth, per item; first the items shown to the judge, then those gated.
        rewards: what the service returned, per item; -1 for the gated.
        num_characters: of each item shown; its length is the number of items shown.
        passes: in the order of the design.
    """

    labels: list[float]
    rewards: list[float]
    num_characters: list[int]
    passes: list[Pass]

    @property
    def num_shown(self) -> int:
        return len(self.num_characters)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an order agrees with the truth; pairs are those whose truth differs.

    Attributes:
        accuracy: share of pairs in the right order; a tie is not right.
        auc: the same with a tie counted half: the chance that the better one scores higher.
        tau_b: Kendall's tau_b; 0 where the judge ties all.
        top1: chance that one of the judge's best, drawn at random, is truly best; None if the
            order does not cover the group.
    """

    accuracy: float
    auc: float
    tau_b: float
    top1: float | None


def ranking_agreement(judged: JudgedGroup) -> Agreement | None:
    """Of what the service returned."""
    return agreement(judged.rewards, judged.labels)


def all_passes_agreement(judged: JudgedGroup) -> Agreement | None:
    """Of all passes together, before any shrinking or test for signal."""
    values = combined(judged.passes, judged.num_shown)
    return None if values is None else agreement(_with_gated(values, judged), judged.labels)


def one_pass_agreement(judged: JudgedGroup) -> Agreement | None:
    """Of a single pass: the mean over the passes that show two items of different truth."""
    found = [each for each in (_pass_agreement(judged, one) for one in judged.passes) if each]
    if not found:
        return None
    tops = [each.top1 for each in found if each.top1 is not None]
    return Agreement(
        accuracy=_mean(each.accuracy for each in found),
        auc=_mean(each.auc for each in found),
        tau_b=_mean(each.tau_b for each in found),
        top1=_mean(tops) if tops else None,
    )


def agreement(values: Sequence[float], labels: Sequence[float]) -> Agreement | None:
    """Of values with labels, both per item; None where all labels are equal."""
    if len(set(labels)) < 2:
        return None
    said, true = _signs(values), _signs(labels)
    differ = true != 0
    right, tied = said[differ] == true[differ], said[differ] == 0
    best = [label for value, label in zip(values, labels, strict=True) if value == max(values)]
    return Agreement(
        accuracy=float(right.mean()),
        auc=float(right.mean() + tied.mean() / 2),
        tau_b=kendall_tau_b(values, labels) or 0.0,
        top1=best.count(max(labels)) / len(best),
    )


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall 1945: concordant minus discordant pairs over the geometric mean of untied pairs.

    0 where one side ties all; None where both do.
    """
    a, b = _signs(first), _signs(second)
    untied_a, untied_b = np.count_nonzero(a), np.count_nonzero(b)
    if untied_a == 0 and untied_b == 0:
        return None
    if untied_a == 0 or untied_b == 0:
        return 0.0
    return float((a * b).sum() / np.sqrt(float(untied_a) * float(untied_b)))


def order_flips(judged: JudgedGroup) -> float | None:
    """Share of pairs that a pass and its reverse order differently; a tie in one only counts."""
    flipped: list[Array] = []
    for passes in _by_source(judged.passes):
        waiting: dict[tuple[int, ...], list[Pass]] = {}
        for one in passes:
            if len(one.order) < 2:
                continue
            partners = waiting.get(tuple(reversed(one.order)))
            if partners:
                partner = partners.pop()
                flipped.append(_signs(one.scores) != _signs(partner.scores[::-1]))
            else:
                waiting.setdefault(tuple(one.order), []).append(one)
    return float(np.concatenate(flipped).mean()) if flipped else None


def retest_tau(judged: JudgedGroup) -> float | None:
    """Kendall's tau_b between two halves of the passes, pairs of order and reverse kept whole."""
    taus = []
    for passes in _by_source(judged.passes):
        half = max(1, 2 * (len(passes) // 4))
        first = combined(passes[:half], judged.num_shown)
        second = combined(passes[half : 2 * half], judged.num_shown)
        tau = kendall_tau_b(first, second) if first and second else None
        if tau is not None:
            taus.append(tau)
    return _mean(taus) if taus else None


def tie_rate(judged: JudgedGroup) -> float | None:
    """Share of pairs within a pass that get the same score."""
    signs = [_signs(one.scores) for one in judged.passes if len(one.scores) > 1]
    return float((np.concatenate(signs) == 0).mean()) if signs else None


def combined(passes: Sequence[Pass], num_items: int) -> list[float] | None:
    """All passes as one value per item: least squares on item and pass effects, mean zero.

    With passes that all show all items these are the mean scores, centred. Passes of a single item
    have no effect of their own. None where an item is not shown or not linked to the others.
    """
    if not passes or num_items < 2:
        return None
    if all(len(one.order) == 1 for one in passes):
        seen = [[one.scores[0] for one in passes if one.order[0] == i] for i in range(num_items)]
        return [round(_mean(scores), _DIGITS) for scores in seen] if all(seen) else None
    rows, scores = centred_rows(passes, num_items)
    values, _, rank, _ = np.linalg.lstsq(rows.T @ rows, rows.T @ scores, rcond=1e-9)
    if rank < num_items - 1:
        return None
    return [round(float(value), _DIGITS) + 0.0 for value in values]


def centred_rows(passes: Sequence[Pass], num_items: int) -> tuple[Array, Array]:
    """Which item each slot of each pass shows, shape (rows, items), and its score, shape (rows,);
    both with the mean of their pass removed."""
    items, scores = [np.empty((0, num_items))], [np.empty(0)]
    for one in passes:
        shown = np.eye(num_items)[one.order]
        items.append(shown - shown.mean(axis=0))
        scores.append(np.array(one.scores) - np.mean(one.scores))
    return np.concatenate(items), np.concatenate(scores)


def _pass_agreement(judged: JudgedGroup, one: Pass) -> Agreement | None:
    if len(one.order) == judged.num_shown:
        values = dict(zip(one.order, one.scores, strict=True))
        whole = [values[item] for item in range(judged.num_shown)]
        return agreement(_with_gated(whole, judged), judged.labels)
    found = agreement(one.scores, [judged.labels[item] for item in one.order])
    return Agreement(found.accuracy, found.auc, found.tau_b, None) if found else None


def _with_gated(values: list[float], judged: JudgedGroup) -> list[float]:
    lowest = min(values, default=0.0) + _GATED
    return values + [lowest] * (len(judged.labels) - judged.num_shown)


def _by_source(passes: Iterable[Pass]) -> Iterable[list[Pass]]:
    sources: dict[str, list[Pass]] = {}
    for one in passes:
        sources.setdefault(one.source, []).append(one)
    return sources.values()


def _signs(values: Sequence[float]) -> Array:
    """The sign of each pair's difference, i < j, shape (n (n - 1) / 2,)."""
    array = np.asarray(values, dtype=np.float64)
    i, j = np.triu_indices(len(array), k=1)
    return np.asarray(np.sign(array[i] - array[j]))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
