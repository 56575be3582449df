"""Outcomes -> figures with 95% intervals, by a bootstrap over groups.

To add a figure: write a function from outcomes to a `Measure`; name it in `FIGURES`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from benchmarks.ranking.arms import Outcome
from podium_service.scoring.agreement import agreement, kendall_tau_b
from podium_service.scoring.bootstrap import Array, Bootstrap, Measure

Z_90 = 1.6449
_DIGITS = 9


@lru_cache(maxsize=3)
def _draws(num_groups: int) -> Bootstrap:
    return Bootstrap(num_groups)


def mean(values: Sequence[float | None]) -> Measure:
    if not values:
        return Measure(None, None, None, 0, "no groups")
    return _draws(len(values)).mean(values, "no group has a value")


def ratio(parts: Sequence[tuple[float, float] | None]) -> Measure:
    """Sum of the firsts over sum of the seconds."""
    if not parts:
        return Measure(None, None, None, 0, "no groups")
    return _draws(len(parts)).ratio(parts, "nothing to divide by")


def difference(first: Sequence[float], second: Sequence[float]) -> Measure:
    """Return mean of paired differences."""
    return mean([a - b for a, b in zip(first, second, strict=True)])


def tau(values: Sequence[float], truth: Sequence[float]) -> float | None:
    """Return Kendall's tau_b; None where all are equally good."""
    if len(set(truth)) < 2:
        return None
    return kendall_tau_b([round(value, _DIGITS) for value in values], truth) or 0.0


def tau_means(outcomes: Sequence[Outcome]) -> Measure:
    return mean([tau(each.means, each.group.truth) for each in outcomes])


def tau_rewards(outcomes: Sequence[Outcome]) -> Measure:
    return mean([tau(each.rewards, each.group.truth) for each in outcomes])


def auc(outcomes: Sequence[Outcome]) -> Measure:
    """Return the chance that the better of two has the higher reward; a tie is a half."""
    found = [agreement(each.rewards, each.group.truth) for each in outcomes]
    return mean([each.auc if each else None for each in found])


def sign_errors(outcomes: Sequence[Outcome]) -> Measure:
    """Share of trajectories that are pushed the wrong way; those not pushed count as right."""
    return ratio([_wrong_signs(each) for each in outcomes])


def _wrong_signs(outcome: Outcome) -> tuple[float, float]:
    given, true = centred(outcome.rewards), centred(outcome.group.truth)
    return float((given * true < 0).sum()), float(len(true))


def correlation(outcomes: Sequence[Outcome]) -> Measure:
    """Correlate returned with true advantages (each less its group's mean), over trajectories."""
    if not outcomes:
        return Measure(None, None, None, 0, "no groups")
    sums = []
    for each in outcomes:
        a, b = centred(each.rewards), centred(each.group.truth)
        sums.append(np.array([a @ b, a @ a, b @ b]))
    return _draws(len(sums)).measure(sums, _cosine, "no reward differs from another")


def _cosine(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / np.sqrt(sums[..., 1] * sums[..., 2]))


def squared_cosine(outcome: Outcome) -> float:
    """Return the squared cosine of the advantages with the true ones; 0 among equals."""
    given, true = centred(outcome.rewards), centred(outcome.group.truth)
    norm = float(np.linalg.norm(given) * np.linalg.norm(true))
    return float(given @ true / norm) ** 2 if norm else 0.0


def squared_advantages(rewards: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean squared advantage of each group."""
    return [float((centred(each) ** 2).mean()) for each in rewards]


def tokens(outcomes: Sequence[Outcome]) -> Measure:
    return mean([float(each.tokens) for each in outcomes])


def calls(outcomes: Sequence[Outcome]) -> Measure:
    return mean([float(each.calls) for each in outcomes])


def flips(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Measure:
    """Share of pairs that come out in another order the second time; where only one of the two
    ties them, half."""
    shares: list[float | None] = []
    for one, other in zip(first, second, strict=True):
        a, b = _signs(one), _signs(other)
        shares.append(float((np.abs(a - b) / 2).mean()))
    return mean(shares)


def coverage(outcomes: Sequence[Outcome], spread: float, *, shrunk: bool) -> Measure:
    """Return how often score +- 1.645 stderr holds the truth, both less group means."""
    parts = []
    for each in outcomes:
        if each.stderr:
            truth = spread * centred(each.group.truth)
            off = centred(each.scores if shrunk else each.means) - truth
            inside = np.abs(off) <= Z_90 * np.array(each.stderr)
            parts.append((float(inside.sum()), float(len(truth))))
    return ratio(parts)


def predicted_wins(outcomes: Sequence[Outcome]) -> tuple[Array, Array]:
    """Return for each pair the predicted chance that its first is better, and whether it is.

    Shapes (pairs,).
    """
    chances, won = [], []
    for each in outcomes:
        if not each.stderr:
            continue
        i, j = np.triu_indices(len(each.means), k=1)
        chances.append(np.array(each.wins)[i, j])
        truth = np.array(each.group.truth)
        won.append((truth[i] > truth[j]).astype(float))
    return np.concatenate(chances), np.concatenate(won)


def reliability_bins(chances: Array, won: Array, bins: int = 10) -> list[dict[str, float]]:
    """Compare predicted chance with frequency, in bins of equal width."""
    which = np.minimum((chances * bins).astype(int), bins - 1)
    return [
        {
            "predicted": float(chances[which == each].mean()),
            "frequency": float(won[which == each].mean()),
            "pairs": int((which == each).sum()),
        }
        for each in range(bins)
        if (which == each).any()
    ]


def calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """Return expected calibration error: the mean distance between the two, weighted by pairs.

    Source:
        Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    total = sum(each["pairs"] for each in bins)
    off = (each["pairs"] * abs(each["predicted"] - each["frequency"]) for each in bins)
    return sum(off) / total


def centred(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    return np.asarray((array - array.mean()).round(_DIGITS))


def _signs(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64).round(_DIGITS)
    i, j = np.triu_indices(len(array), k=1)
    return np.asarray(np.sign(array[i] - array[j]))


FIGURES: dict[str, Callable[[Sequence[Outcome]], Measure]] = {
    "tau, means": tau_means,
    "tau, rewards": tau_rewards,
    "correlation": correlation,
    "AUC": auc,
    "sign errors": sign_errors,
}
