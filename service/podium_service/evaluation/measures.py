"""Measure one judged group: how near the judge is to the labels, and how steady it is.

All functions are pure and return None where the measure is undefined. A pass may show all items of
a group, a subset of two or more, or a single item.

To add a measure:
1. Write a function `JudgedGroup -> float | None` here.
2. Enter it in `STEADINESS` of card.py, with the reason to show where it is None.
3. Enter its title and explanation in `ROWS` of page.py.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from podium_service.ranking.methods.designs import links_all
from podium_service.scoring.agreement import Agreement, agreement, kendall_tau_b, pair_signs
from podium_service.scoring.bootstrap import Array
from podium_service.scoring.least_squares import KNOTS, least_squares

_GATED = -1.0  # below every score, because the pipeline ranks gated trajectories last
_DIGITS = 9  # values that differ only beyond these digits are equal


@dataclass(frozen=True, slots=True)
class Pass:
    """One verdict: `scores[s]` is the score of item `order[s]`, which was shown in slot s.

    `source` names the juror of a jury: passes are compared within one source only.
    """

    order: list[int]
    scores: list[float]
    source: str = ""


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """The labels, rewards and passes of one group's items, which are its distinct trajectories.

    Attributes:
        labels: the truth, per item: first the items shown to the judge, then the gated ones.
        rewards: per item, as the service returned them; -1 for the gated ones.
        num_characters: per item shown.
        passes: in the order of the design.
    """

    labels: list[float]
    rewards: list[float]
    num_characters: list[int]
    passes: list[Pass]

    @property
    def num_shown(self) -> int:
        return len(self.num_characters)


def reward_agreement(group: JudgedGroup) -> Agreement | None:
    """Compare the rewards with the labels."""
    return agreement(group.rewards, group.labels)


def all_passes_agreement(group: JudgedGroup) -> Agreement | None:
    """Compare the mean of all passes, not shrunk, with the labels.

    None where the passes do not link all items.
    """
    values = combine_passes(group.passes, group.num_shown)
    return None if values is None else agreement(_append_gated(values, group), group.labels)


def one_pass_agreement(group: JudgedGroup) -> Agreement | None:
    """Compare each pass alone with the labels: the mean over the passes that can be compared."""
    agreements = [each for pass_ in group.passes if (each := _pass_agreement(group, pass_))]
    if not agreements:
        return None
    tops = [each.top1 for each in agreements if each.top1 is not None]
    return Agreement(
        accuracy=_mean(each.accuracy for each in agreements),
        auc=_mean(each.auc for each in agreements),
        tau_b=_mean(each.tau_b for each in agreements),
        top1=_mean(tops) if tops else None,
    )


def order_flips(group: JudgedGroup) -> float | None:
    """Return the share of pairs that a pass and its reverse order differently.

    A pair that only one of the two passes ties counts as ordered differently.
    """
    flips: list[Array] = []
    unmatched: defaultdict[tuple[str, tuple[int, ...]], list[Pass]] = defaultdict(list)
    for pass_ in group.passes:
        if len(pass_.order) < 2:
            continue
        if reverses := unmatched[pass_.source, tuple(reversed(pass_.order))]:
            reverse = reverses.pop()
            flips.append(pair_signs(pass_.scores) != pair_signs(reverse.scores[::-1]))
        else:
            unmatched[pass_.source, tuple(pass_.order)].append(pass_)
    return float(np.concatenate(flips).mean()) if flips else None


def retest_tau(group: JudgedGroup) -> float | None:
    """Return Kendall's tau_b between two halves of the passes.

    An order and its reverse stay in the same half, so that neither half is biased by slots.
    """
    passes_of: defaultdict[str, list[Pass]] = defaultdict(list)
    for pass_ in group.passes:
        passes_of[pass_.source].append(pass_)
    taus = []
    for passes in passes_of.values():
        half = max(1, 2 * (len(passes) // 4))
        first = combine_passes(passes[:half], group.num_shown)
        second = combine_passes(passes[half : 2 * half], group.num_shown)
        tau = kendall_tau_b(first, second) if first and second else None
        if tau is not None:
            taus.append(tau)
    return _mean(taus) if taus else None


def tie_rate(group: JudgedGroup) -> float | None:
    """Return the share of pairs within a pass that get the same score."""
    signs = [pair_signs(pass_.scores) for pass_ in group.passes if len(pass_.scores) > 1]
    return float((np.concatenate(signs) == 0).mean()) if signs else None


def combine_passes(passes: Sequence[Pass], num_items: int) -> list[float] | None:
    """Combine passes into one value per item, by least squares on item and pass effects.

    The values have mean zero, unless every pass shows a single item: then an item's value is its
    mean score. None where the passes do not link all items.
    """
    if not passes or num_items < 2:
        return None
    if all(len(pass_.order) == 1 for pass_ in passes):
        scores_of: list[list[float]] = [[] for _ in range(num_items)]
        for pass_ in passes:
            scores_of[pass_.order[0]].append(pass_.scores[0])
        return [round(_mean(scores), _DIGITS) for scores in scores_of] if all(scores_of) else None
    if not links_all(num_items, [pass_.order for pass_ in passes]):
        return None
    no_slot_effects = np.zeros(KNOTS)
    fit = least_squares(num_items, [(each.order, each.scores) for each in passes], no_slot_effects)
    mean = fsum(fit.effects_I) / num_items
    return [round(effect - mean, _DIGITS) + 0.0 for effect in fit.effects_I]


def _pass_agreement(group: JudgedGroup, pass_: Pass) -> Agreement | None:
    if len(pass_.order) == group.num_shown:
        by_item = [score for _, score in sorted(zip(pass_.order, pass_.scores, strict=True))]
        return agreement(_append_gated(by_item, group), group.labels)
    partial = agreement(pass_.scores, [group.labels[item] for item in pass_.order])
    return Agreement(partial.accuracy, partial.auc, partial.tau_b, None) if partial else None


def _append_gated(values: list[float], group: JudgedGroup) -> list[float]:
    lowest = min(values, default=0.0) + _GATED
    return values + [lowest] * (len(group.labels) - group.num_shown)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
