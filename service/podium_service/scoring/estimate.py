"""Verdicts -> score, stderr and reliability, each no surer than the judge can reproduce.

`least_squares` splits scores into trajectories, passes and noise; `noise` tells what is known of
the judge beforehand. All arithmetic runs in the canonical order of trajectories, so that a permuted
request gives the same bits; means are rounded to 12 digits so that equal is equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import asin, fsum, inf, pi, sqrt

import numpy as np

from podium_service.scoring.least_squares import Array, Fit, Pass, least_squares, one_way
from podium_service.scoring.noise import (
    FLAT_R,
    RATIOS_R,
    JudgeNoise,
    PastGroup,
    ratio_likelihood,
)
from podium_service.scoring.significance import SIGNIFICANCE_LEVEL, p_value
from podium_service.scoring.strengths import Strengths

_LEAST_TRUST, _MOST_TRUST = 0.05, 0.999  # of a prediction: some order, and a finite ratio
_ROUNDING = 1e-20  # mean squares below this are rounding of scores in [0, 1]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the verdicts of one group say; every list holds one value per distinct trajectory.

    Attributes:
        means: estimated scores; a little outside [0, 1] where slots or moods moved them there.
        scores: the means shrunk toward the group mean by the reliability.
        stderr: standard errors of the means; None if they cannot be known.
        reliability: share of the variance between means that is signal, in [0, 1]; None if
            the noise is not known or comes from the configuration.
        is_significant: whether the trajectories differ by more than noise explains.
        shrinkage: the reliability that shrinking used; equals `reliability` where that is known.
        has_scores: False where no judge was asked, and the scores stand for nothing.
        expected_gain: the share of pairs that one more pass is expected to put in order.
        past_group: what the group tells about its judge; None where it tells nothing.
    """

    means: list[float]
    scores: list[float]
    stderr: list[float] | None
    reliability: float | None
    is_significant: bool
    shrinkage: float
    has_scores: bool = True
    expected_gain: float = 0.0
    past_group: PastGroup | None = None

    @property
    def max_stderr(self) -> float:
        """The largest standard error; infinite where it cannot be known."""
        return max(self.stderr) if self.stderr else inf


def estimate_passes(
    num_items: int,
    passes: Sequence[Pass],
    noise: JudgeNoise | None = None,
    *,
    level: float = SIGNIFICANCE_LEVEL,
) -> Estimate:
    """Estimate from scored passes over all trajectories, or over subsets that connect them.

    Args:
        num_items: distinct trajectories, >= 2.
        passes: `(order, scores)` per call.
        noise: what is known of the judge. What it learnt from past groups is weighed with the
            group's own residuals; what was configured is used only where one pass cannot tell.
        level: of the signal test: how often a group of equals may be told apart.

    Source:
        Two-way analysis of variance; the reliability is the intraclass correlation of k averaged
        passes, ICC(C, k), of McGraw and Wong 1996, or, where past groups say how much signal there
        is to expect, its posterior mean. The variance is moderated as by Smyth 2004.
    """
    fit = least_squares(num_items, passes, noise.slots_K if noise else None)
    return _estimate_from_fit(fit, max(len(order) for order, _ in passes), noise, level)


def estimate_ratings(
    ratings: Sequence[Sequence[float]],
    noise: JudgeNoise | None,
    *,
    level: float = SIGNIFICANCE_LEVEL,
) -> Estimate:
    """Estimate from trajectories that were each rated by themselves; one list of ratings each."""
    return _estimate_from_fit(one_way(ratings), 1, noise, level)


def estimate_strengths(
    strengths: Strengths, showings: float, *, level: float = SIGNIFICANCE_LEVEL
) -> Estimate:
    """Estimate from strengths fitted to comparisons; these are shrunk already.

    Args:
        strengths: posterior under a normal prior.
        showings: how often a trajectory was shown, on average.
        level: of the signal test.
    """
    scores, num_items = strengths.scores, len(strengths.scores)
    inflated = sqrt(num_items / max(1, num_items - 1))  # as if the group's mean were known
    stderr = [each * inflated for each in strengths.stderr]
    error = fsum(each**2 for each in stderr) / num_items
    centre = fsum(scores) / len(scores)
    spread = fsum((score - centre) ** 2 for score in scores) / max(1, len(scores) - 1)
    signal = strengths.p_value <= level and spread > 0
    reliability = spread / (spread + error) if spread else 0.0
    ratio = reliability / (1 - reliability) / showings if error else inf
    then = ratio * (showings + 1) / (ratio * (showings + 1) + 1) if error else 1.0
    return Estimate(
        means=scores,
        scores=scores if signal else [centre] * len(scores),
        stderr=stderr,
        reliability=reliability if signal else 0.0,
        is_significant=signal,
        shrinkage=float(signal),
        expected_gain=(asin(sqrt(then)) - asin(sqrt(reliability))) / pi,
    )


def _estimate_from_fit(fit: Fit, length: int, noise: JudgeNoise | None, level: float) -> Estimate:
    num_items = len(fit.effects_I)
    ms_error, df_error = _noise_variance(fit, noise)
    means = fit.effects_I
    if ms_error is None:
        return _as_they_come(means, PastGroup.from_fit(fit, length))
    ms_items = fit.ss_items / (num_items - 1)
    p = p_value(ms_items, ms_error, num_items - 1, df_error, negligible=_ROUNDING)
    signal = p <= level
    likely_R = _ratio_posterior(fit, ms_items, ms_error, df_error, noise)
    trust = _trust(fit, ms_items, ms_error, likely_R, noise) if ms_items else 0.0
    unknown = noise is not None and not noise.groups and fit.df_error <= 0
    found = Estimate(
        means=means,
        scores=_toward_mean(means, trust if signal else 0.0),
        stderr=_stderr(fit.covariance_II, ms_error),
        reliability=None if unknown else trust if signal else 0.0,
        is_significant=signal,
        shrinkage=trust if signal else 0.0,
        expected_gain=_worth(likely_R, fit.information),
        past_group=PastGroup.from_fit(fit, length),
    )
    return found if fit.complete or not ms_error else _predicted(found, fit, ms_error, trust)


def _predicted(found: Estimate, fit: Fit, ms_error: float, trust: float) -> Estimate:
    """Of an incomplete design: each trajectory's score shrunk by how much is known of it.

    Least squares follows every chain of comparisons to its end, and adds up the errors on the way;
    the posterior mean under a normal prior of the group's variance does not.

    Source:
        Best linear unbiased prediction: Robinson 1991, "That BLUP is a good thing".
    """
    share = min(_MOST_TRUST, max(_LEAST_TRUST, trust))
    ratio = share / (1 - share) / fit.information
    effects_I = np.array(fit.effects_I)
    about_mean_II = np.eye(len(effects_I)) - 1 / len(effects_I)
    covariance_II = np.linalg.inv(fit.laplacian_II + np.eye(len(effects_I)) / ratio)
    means_I = effects_I.mean() + about_mean_II @ covariance_II @ fit.laplacian_II @ effects_I
    means = [round(float(mean), 12) for mean in means_I]
    return replace(
        found,
        means=means,
        scores=means if found.is_significant else _toward_mean(means, 0.0),
        stderr=_stderr(about_mean_II @ covariance_II @ about_mean_II, ms_error),
        shrinkage=float(found.is_significant),  # these are shrunk already
    )


def _toward_mean(means: Sequence[float], share: float) -> list[float]:
    """The means with only a share of their distance from the group's mean left."""
    centre = fsum(means) / len(means)
    return [centre + share * (mean - centre) for mean in means]


def _noise_variance(fit: Fit, noise: JudgeNoise | None) -> tuple[float | None, float]:
    """The variance of one score's noise and its degrees of freedom; None if nothing tells."""
    own = fit.ss_error if fit.ss_error > _ROUNDING * max(1.0, fit.df_error) else 0.0
    if noise is not None and (noise.groups or fit.df_error <= 0):
        if noise.df == inf:
            return noise.variance, inf
        df = noise.df + fit.df_error
        return (noise.df * noise.variance + own) / df, df
    if fit.df_error <= 0:
        return None, 0.0
    return own / fit.df_error, fit.df_error


def _stderr(covariance_II: Array, ms_error: float) -> list[float]:
    """Of each effect, as if the group's mean were known: sqrt(MS_error / passes) when all are
    shown in every pass."""
    num_items = len(covariance_II)
    inflated = num_items / (num_items - 1)
    return [sqrt(ms_error * inflated * max(0.0, float(each))) for each in covariance_II.diagonal()]


def _ratio_posterior(
    fit: Fit, ms_items: float, ms_error: float, df_error: float, noise: JudgeNoise | None
) -> Array:
    """Probability of each signal ratio of `RATIOS_R`, given this group and the past ones."""
    if ms_error == 0:
        return FLAT_R * 0
    prior_R = noise.ratios_R if noise else FLAT_R
    f = ms_items / ms_error
    posterior_R = prior_R * ratio_likelihood(f, fit.information, len(fit.effects_I) - 1, df_error)
    return np.asarray(posterior_R / posterior_R.sum())


def _trust(
    fit: Fit, ms_items: float, ms_error: float, likely_R: Array, noise: JudgeNoise | None
) -> float:
    if noise is None or not noise.ratios or ms_error == 0:
        return max(0.0, 1 - ms_error / ms_items)
    return float(likely_R @ _reliability(fit.information))


def _reliability(information: float) -> Array:
    """Reliability at each ratio of `RATIOS_R` after so many passes."""
    signal_R = information * RATIOS_R
    return np.asarray(signal_R / (signal_R + 1))


def _worth(likely_R: Array, information: float) -> float:
    """Expected gain of one more pass, in pairs put right: half the gain in Kendall's tau, which
    is `2/pi asin(sqrt(reliability))` between a truth and its noisy estimate, both normal."""
    now, then = np.sqrt(_reliability(information)), np.sqrt(_reliability(information + 1))
    return float(likely_R @ (np.arcsin(then) - np.arcsin(now)) / pi)


def _as_they_come(means: list[float], past: PastGroup) -> Estimate:
    """One pass of a judge whose noise is unknown: its scores, and no claim about their error."""
    return Estimate(
        means=means,
        scores=means,
        stderr=None,
        reliability=None,
        is_significant=len(set(means)) > 1,
        shrinkage=1.0,
        past_group=past,
    )


def estimate_exact(scores: Sequence[float]) -> Estimate:
    """Scores without error, as checks give them."""
    means = [round(score, 12) for score in scores]
    differ = len(set(means)) > 1
    return Estimate(
        means=means,
        scores=means,
        stderr=[0.0] * len(means),
        reliability=float(differ),
        is_significant=differ,
        shrinkage=1.0,
    )


def estimate_unscored(items: int) -> Estimate:
    """Nothing to compare: at most one distinct trajectory, and so no score."""
    zeros = [0.0] * items
    return Estimate(
        zeros, zeros, None, reliability=0.0, is_significant=False, shrinkage=0.0, has_scores=False
    )
