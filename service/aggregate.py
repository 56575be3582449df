"""Verdicts -> score, stderr and reliability: a two-way layout of passes x trajectories.

A pass's mean is the judge's mood and is removed. What is left splits into what the trajectories
account for (signal) and what no pass reproduces (noise).

All arithmetic runs in the canonical order of trajectories and sums exactly (math.fsum), so that a
permuted request gives the same bits; means are rounded to 12 digits so that equal is equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, inf, sqrt

from scipy.special import chdtrc, fdtrc

SIGNAL_LEVEL = 0.10
_ROUNDING = 1e-20  # mean squares below this are rounding of scores in [0, 1]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the verdicts of one group say.

    Attributes:
        means: per trajectory, the mean of its scores over the passes, in [0, 1].
        scores: the means shrunk toward the group mean by the reliability.
        stderr: standard error of a mean, one for the group; None if it cannot be known.
        reliability: share of the variance between means that is signal, in [0, 1]; None if
            the noise is not known or comes from the configuration.
        signal: whether the trajectories differ by more than noise explains (level .10).
        trust: the reliability that shrinking used; equals `reliability` where that is known.
        scored: False where no judge was asked, and the scores stand for nothing.
    """

    means: list[float]
    scores: list[float]
    stderr: float | None
    reliability: float | None
    signal: bool
    trust: float
    scored: bool = True


def estimate(scores: list[list[float]], noise_sd: float | None = None) -> Estimate:
    """Estimate from the verdicts of one group.

    Args:
        scores: `scores[p][i]` of trajectory i in pass p; at least one pass and two trajectories.
        noise_sd: standard deviation of one score of this judge, used where one pass cannot tell.

    Source:
        Two-way analysis of variance without replication; the reliability is the intraclass
        correlation of k averaged passes, ICC(C, k), of McGraw and Wong 1996.
    """
    passes, items = len(scores), len(scores[0])
    means = [round(fsum(column) / passes, 12) for column in zip(*scores, strict=True)]
    centre = fsum(means) / items
    ms_items = passes * fsum((mean - centre) ** 2 for mean in means) / (items - 1)
    if passes > 1:
        ms_error, df_error = _residual_mean_square(scores, means, centre), _df(passes, items)
    elif noise_sd is not None:
        ms_error, df_error = noise_sd**2, inf
    else:
        return _as_they_come(means)
    signal = _has_signal(ms_items, ms_error, items - 1, df_error)
    trust = max(0.0, 1 - ms_error / ms_items) if signal else 0.0
    return Estimate(
        means=means,
        scores=[centre + trust * (mean - centre) for mean in means],
        stderr=sqrt(ms_error / passes),
        reliability=trust if passes > 1 else None,
        signal=signal,
        trust=trust,
    )


def _df(passes: int, items: int) -> float:
    return float((passes - 1) * (items - 1))


def _residual_mean_square(scores: list[list[float]], means: list[float], centre: float) -> float:
    squares: list[float] = []
    for row in scores:
        mood = fsum(row) / len(row) - centre
        squares += [(score - mood - mean) ** 2 for score, mean in zip(row, means, strict=True)]
    mean_square = fsum(squares) / _df(len(scores), len(means))
    return mean_square if mean_square > _ROUNDING else 0.0


def _has_signal(ms_items: float, ms_error: float, df_items: int, df_error: float) -> bool:
    """The F test over trajectories; a chi-square test where the error is known."""
    if ms_items <= _ROUNDING:
        return False
    if ms_error == 0:
        return True
    ratio = ms_items / ms_error
    if df_error == inf:
        return bool(chdtrc(df_items, ratio * df_items) <= SIGNAL_LEVEL)
    return bool(fdtrc(df_items, df_error, ratio) <= SIGNAL_LEVEL)


def _as_they_come(means: list[float]) -> Estimate:
    """One pass of a judge whose noise is unknown: its scores, and no claim about their error."""
    return Estimate(
        means=means,
        scores=means,
        stderr=None,
        reliability=None,
        signal=len(set(means)) > 1,
        trust=1.0,
    )


def certain(scores: Sequence[float]) -> Estimate:
    """Scores without error, as checks give them."""
    means = [round(score, 12) for score in scores]
    differ = len(set(means)) > 1
    return Estimate(
        means=means,
        scores=means,
        stderr=0.0,
        reliability=float(differ),
        signal=differ,
        trust=1.0,
    )


def unasked(items: int) -> Estimate:
    """Nothing to compare: at most one distinct trajectory, and so no score."""
    zeros = [0.0] * items
    return Estimate(zeros, zeros, None, reliability=0.0, signal=False, trust=0.0, scored=False)
