"""Estimate the score of each trajectory from verdicts, with standard errors and reliability.

All arithmetic runs in the canonical order of trajectories, so a permuted request gives the same
bits. Means are rounded to 12 digits, so equal trajectories stay equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import asin, fsum, inf, pi, sqrt
from typing import Literal

import numpy as np

from podium_service.scoring import signal_ratio
from podium_service.scoring.bradley_terry import Strengths
from podium_service.scoring.least_squares import Array, Fit, Pass, fit_ratings, least_squares
from podium_service.scoring.noise import JudgeNoise, PastGroup
from podium_service.scoring.signal_ratio import FLAT_R, SIGNIFICANCE_LEVEL

# A prediction keeps some order at no reliability, and a finite ratio at full reliability.
_MIN_RELIABILITY, _MAX_RELIABILITY = 0.05, 0.999
_ROUNDING = 1e-20  # a mean square of scores in [0, 1] up to this is rounding

# What a difference of scores means: `points` of the judge's own scale have an order and no unit; a
# `log_probability` is 1 + log(p) / NATS_PER_SCORE; a `probability` is p itself.
Scale = Literal["points", "log_probability", "probability"]
NATS_PER_SCORE = 12.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The scores of one group; every list holds one value per distinct trajectory.

    Attributes:
        means: estimated scores on the judge's scale; the effects of passes and slots can move them
            a little outside [0, 1].
        scores: the means, shrunk toward the group mean.
        stderr: standard errors of the means; None if they cannot be known.
        reliability: share of the variance between means that is signal, in [0, 1]; None if the
            noise is not known or only configured.
        is_significant: whether the trajectories differ by more than noise explains.
        shrinkage: the reliability that the scores were shrunk by; equals `reliability` where that
            is not None.
        has_scores: False where no judge was asked.
        expected_gain: share of pairs that one more pass is expected to put in order.
        past_group: the summary to learn the judge's noise from; None where there is none.
        scale: what a difference of scores means.
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
    scale: Scale = "points"

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
    """Estimate from passes over all trajectories, or over subsets that link them.

    Args:
        num_items, passes: see `least_squares`.
        noise: the judge's noise. A variance learnt from past groups is pooled with the group's own
            residuals; a configured one is used only if the group has no residuals.
        level: of the significance test: the chance that a group of equals is significant.

    Source:
        Two-way analysis of variance. The reliability is ICC(C, k) of McGraw and Wong 1996,
        Psychological Methods 1(1), or its posterior mean if past groups tell the prior. The
        variance is moderated as by Smyth 2004 (see `noise`).
    """
    fit = least_squares(num_items, passes, noise.slots_K if noise else None)
    return _estimate_fit(fit, max(len(order) for order, _ in passes), noise, level)


def estimate_ratings(
    ratings: Sequence[Sequence[float]],
    noise: JudgeNoise | None,
    *,
    level: float = SIGNIFICANCE_LEVEL,
) -> Estimate:
    """Estimate from ratings of single trajectories, one list of ratings per trajectory."""
    return _estimate_fit(fit_ratings(ratings), 1, noise, level)


def estimate_strengths(
    strengths: Strengths, showings: float, *, level: float = SIGNIFICANCE_LEVEL
) -> Estimate:
    """Estimate from strengths fitted to comparisons; their prior has shrunk them already.

    `showings` is how often a trajectory was shown, on average.
    """
    scores, num_items = strengths.scores, len(strengths.scores)
    inflation = sqrt(num_items / max(1, num_items - 1))  # as if the group mean were known
    stderr = [each * inflation for each in strengths.stderr]
    error = fsum(each**2 for each in stderr) / num_items
    centre = fsum(scores) / num_items
    variance = fsum((score - centre) ** 2 for score in scores) / max(1, num_items - 1)
    is_significant = strengths.p_value <= level and variance > 0
    reliability = variance / (variance + error) if variance else 0.0
    ratio = reliability / (1 - reliability) / showings if error else inf
    after = ratio * (showings + 1) / (ratio * (showings + 1) + 1) if error else 1.0
    return Estimate(
        means=scores,
        scores=scores if is_significant else [centre] * num_items,
        stderr=stderr,
        reliability=reliability if is_significant else 0.0,
        is_significant=is_significant,
        shrinkage=float(is_significant),
        expected_gain=(asin(sqrt(after)) - asin(sqrt(reliability))) / pi,  # see `signal_ratio`
    )


def estimate_exact(scores: Sequence[float]) -> Estimate:
    """Take scores as they are, without error, as criteria give them."""
    means = [round(score, 12) for score in scores]
    differ = len(set(means)) > 1
    return Estimate(
        means, means, [0.0] * len(means), float(differ), is_significant=differ, shrinkage=1.0
    )


def estimate_unscored(num_items: int) -> Estimate:
    """Return the estimate of a group that no judge was asked about."""
    zeros = [0.0] * num_items
    return Estimate(zeros, zeros, None, 0.0, is_significant=False, shrinkage=0.0, has_scores=False)


def _estimate_fit(fit: Fit, length: int, noise: JudgeNoise | None, level: float) -> Estimate:
    means, past_group = fit.effects_I, PastGroup.from_fit(fit, length)
    ms_error, df_error = _pool_variance(fit, noise)
    if ms_error is None:  # one pass of a judge whose noise is unknown: no claim about its error
        differ = len(set(means)) > 1
        return Estimate(
            means, means, None, None, is_significant=differ, shrinkage=1.0, past_group=past_group
        )
    df_items = len(means) - 1
    ms_items = fit.ss_items / df_items
    p = signal_ratio.p_value(ms_items, ms_error, df_items, df_error, negligible=_ROUNDING)
    is_significant = p <= level
    posterior_R = FLAT_R * 0  # without an error no ratio is finite, and one more pass gains nothing
    if ms_error:
        f = ms_items / ms_error
        likelihood_R = signal_ratio.ratio_likelihood(f, fit.information, df_items, df_error)
        posterior_R = (noise.ratios_R if noise else FLAT_R) * likelihood_R
        posterior_R /= posterior_R.sum()
    if ms_items == 0:
        reliability = 0.0
    elif noise and noise.ratios and ms_error:
        reliability = signal_ratio.expected_reliability(posterior_R, fit.information)
    else:
        reliability = max(0.0, 1 - ms_error / ms_items)
    shrinkage = reliability if is_significant else 0.0
    is_configured = noise is not None and not noise.groups and fit.df_error <= 0
    estimate = Estimate(
        means=means,
        scores=shrink(means, shrinkage),
        stderr=_standard_errors(fit.covariance_II, ms_error),
        reliability=None if is_configured else shrinkage,
        is_significant=is_significant,
        shrinkage=shrinkage,
        expected_gain=signal_ratio.expected_gain(posterior_R, fit.information),
        past_group=past_group,
    )
    is_exact = fit.complete or not ms_error
    return estimate if is_exact else _predict(estimate, fit, ms_error, reliability)


def _predict(estimate: Estimate, fit: Fit, ms_error: float, reliability: float) -> Estimate:
    """Shrink each score of an incomplete design by how much is known of its trajectory.

    Least squares follows every chain of comparisons to its end and adds up the errors on the way.
    The posterior mean under a normal prior with the group's variance does not.

    Source:
        Best linear unbiased prediction: Robinson 1991, "That BLUP is a good thing", Statistical
        Science 6(1).
    """
    share = min(_MAX_RELIABILITY, max(_MIN_RELIABILITY, reliability))
    ratio = share / (1 - share) / fit.information
    effects_I = np.array(fit.effects_I)
    about_mean_II = np.eye(len(effects_I)) - 1 / len(effects_I)
    covariance_II = np.linalg.inv(fit.laplacian_II + np.eye(len(effects_I)) / ratio)
    means_I = effects_I.mean() + about_mean_II @ covariance_II @ fit.laplacian_II @ effects_I
    means = [round(float(mean), 12) for mean in means_I]
    return replace(
        estimate,
        means=means,
        scores=means if estimate.is_significant else shrink(means, 0.0),
        stderr=_standard_errors(about_mean_II @ covariance_II @ about_mean_II, ms_error),
        shrinkage=float(estimate.is_significant),  # the prediction has shrunk the means already
    )


def shrink(means: Sequence[float], share: float) -> list[float]:
    """Keep only a share of each mean's distance from the group mean."""
    centre = fsum(means) / len(means)
    return [centre + share * (mean - centre) for mean in means]


def _pool_variance(fit: Fit, noise: JudgeNoise | None) -> tuple[float | None, float]:
    """Return the variance of one score's noise, None if unknown, and its degrees of freedom."""
    ss_error = fit.ss_error if fit.ss_error > _ROUNDING * max(1.0, fit.df_error) else 0.0
    if noise is not None and (noise.groups or fit.df_error <= 0):
        if noise.df == inf:
            return noise.variance, inf
        df = noise.df + fit.df_error
        return (noise.df * noise.variance + ss_error) / df, df
    if fit.df_error <= 0:
        return None, 0.0
    return ss_error / fit.df_error, fit.df_error


def _standard_errors(covariance_II: Array, ms_error: float) -> list[float]:
    """Return the standard error of each effect, as if the group mean were known."""
    num_items = len(covariance_II)
    inflation = num_items / (num_items - 1)
    return [sqrt(ms_error * inflation * max(0.0, float(each))) for each in covariance_II.diagonal()]
