"""Estimate the score of each trajectory from verdicts, with standard errors and reliability.

All arithmetic runs in the canonical order of trajectories, so a permuted request gives the same
bits. Means are rounded to 12 digits, so equal trajectories stay equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum, inf, sqrt
from typing import Literal

from podium_service.scoring import signal_ratio
from podium_service.scoring.bradley_terry import Strengths
from podium_service.scoring.least_squares import Array, Fit, Pass, fit_ratings, least_squares
from podium_service.scoring.noise import JudgeNoise, PastGroup
from podium_service.scoring.posterior import (
    Posterior,
    average,
    certain,
    expected_reliability,
    mix_ratios,
    predict_ratios,
    shrink,
)
from podium_service.scoring.signal_ratio import PRIOR_R, RATIOS_R

_ROUNDING = 1e-20  # a mean square of scores in [0, 1] up to this is rounding
# The signal ratio that is assumed of one pass while nothing tells the judge's noise.
_ASSUMED_R = (RATIOS_R == 1).astype(float)

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
        scores: the means, shrunk toward the group mean by the share that is expected to be noise.
        stderr: standard errors of the means; None if they cannot be known.
        reliability: share of the variance between means that is expected to be signal, in [0, 1];
            None if the noise is not known or only configured.
        posterior: what is known of the scores, from which win probabilities follow.
        information: number of passes over all trajectories that the verdicts are worth.
        p_value: chance that equals differ at least as much; used if the settings ask for a test.
        has_scores: False where no judge was asked.
        past_group: the summary to learn the judge's noise from; None where there is none.
        scale: what a difference of scores means.
    """

    means: list[float]
    scores: list[float]
    stderr: list[float] | None
    reliability: float | None
    posterior: Posterior
    information: float = 1.0
    p_value: float = 0.0
    has_scores: bool = True
    past_group: PastGroup | None = None
    scale: Scale = "points"

    @property
    def shrinkage(self) -> float:
        """The reliability that the posterior assumes, whether the noise is known or not."""
        return expected_reliability(self.posterior)

    @property
    def max_stderr(self) -> float:
        """The largest standard error; infinite where it cannot be known."""
        return max(self.stderr) if self.stderr else inf

    def test_signal(self, level: float | None) -> "Estimate":
        """Return the estimate; with all scores tied if its p value is above the level."""
        if level is None or self.p_value <= level:
            return self
        tied = shrink(self.means, 0.0)
        reliability = None if self.reliability is None else 0.0
        nothing = certain(tied, reliability=0.0)
        return replace(self, scores=tied, posterior=nothing, reliability=reliability)


def estimate_passes(
    num_items: int, passes: Sequence[Pass], noise: JudgeNoise | None = None
) -> Estimate:
    """Estimate from passes over all trajectories, or over subsets that link them.

    Args:
        num_items, passes: see `least_squares`.
        noise: the judge's noise. A variance learnt from past groups is pooled with the group's own
            residuals; a configured one is used only if the group has no residuals.

    Source:
        Two-way analysis of variance. The reliability is the posterior mean of ICC(C, k) of McGraw
        and Wong 1996, Psychological Methods 1(1). The variance is moderated as by Smyth 2004 (see
        `noise`).
    """
    fit = least_squares(num_items, passes, noise.slots_K if noise else None)
    return _estimate_fit(fit, max(len(order) for order, _ in passes), noise)


def estimate_ratings(ratings: Sequence[Sequence[float]], noise: JudgeNoise | None) -> Estimate:
    """Estimate from ratings of single trajectories, one list of ratings per trajectory."""
    return _estimate_fit(fit_ratings(ratings), 1, noise)


def estimate_strengths(strengths: Strengths) -> Estimate:
    """Estimate from strengths fitted to comparisons; their prior has shrunk them already."""
    scores, num_items = strengths.scores, len(strengths.scores)
    inflation = sqrt(num_items / max(1, num_items - 1))  # as if the group mean were known
    stderr = [each * inflation for each in strengths.stderr]
    error = fsum(each**2 for each in stderr) / num_items
    centre = fsum(scores) / num_items
    variance = fsum((score - centre) ** 2 for score in scores) / max(1, num_items - 1)
    reliability = variance / (variance + error) if variance else 0.0
    return Estimate(
        means=scores,
        scores=scores,
        stderr=stderr,
        reliability=reliability,
        posterior=certain(scores, stderr, reliability),
        p_value=strengths.p_value if variance > 0 else inf,
    )


def estimate_exact(scores: Sequence[float]) -> Estimate:
    """Take scores as they are, without error, as criteria give them."""
    means = [round(score, 12) for score in scores]
    differ, zeros = float(len(set(means)) > 1), [0.0] * len(means)
    return Estimate(means, means, zeros, differ, certain(means, reliability=differ))


def estimate_unscored(num_items: int) -> Estimate:
    """Return the estimate of a group that no judge was asked about."""
    zeros = [0.0] * num_items
    return Estimate(zeros, zeros, None, 0.0, certain(zeros, reliability=0.0), has_scores=False)


def _estimate_fit(fit: Fit, length: int, noise: JudgeNoise | None) -> Estimate:
    df_items = len(fit.effects_I) - 1
    ms_items = _round_to_digits(fit.ss_items / df_items)
    ms_error, df_error = _pool_variance(fit, noise)
    past_group = PastGroup.from_fit(fit, length)
    if ms_error is None:  # one pass of a judge whose noise is unknown: no claim about its error
        ms_error = ms_items / (1 + fit.information)
        estimate = _estimate_ratios(fit, ms_error, _ASSUMED_R)
        return replace(
            estimate, scores=estimate.means, stderr=None, reliability=None, past_group=past_group
        )
    posterior_R = noise.ratios_R if noise else PRIOR_R
    if ms_error:
        f = ms_items / ms_error
        posterior_R = signal_ratio.posterior_ratios(
            posterior_R, f, fit.information, df_items, df_error
        )
    estimate = _estimate_ratios(fit, ms_error, posterior_R)
    is_configured = noise is not None and not noise.groups and fit.df_error <= 0
    return replace(
        estimate,
        reliability=None if is_configured else estimate.reliability,
        p_value=signal_ratio.p_value(ms_items, ms_error, df_items, df_error, negligible=_ROUNDING),
        past_group=past_group,
    )


def _estimate_ratios(fit: Fit, ms_error: float, weights_R: Array) -> Estimate:
    """Estimate from the error of one score and the probability of each signal ratio."""
    means, stderr = fit.effects_I, _standard_errors(fit.covariance_II, ms_error)
    differ = len(set(means)) > 1
    if not differ or not ms_error:
        posterior = certain(means, reliability=float(differ))
    elif fit.complete:
        posterior = mix_ratios(means, stderr, weights_R, fit.information)
    else:
        posterior = predict_ratios(fit, ms_error, weights_R)
        scores, errors = average(posterior)  # the prediction has shrunk them already
        reliability = expected_reliability(posterior)
        return Estimate(scores, scores, errors, reliability, posterior, fit.information)
    reliability = expected_reliability(posterior)
    scores = shrink(means, reliability)
    return Estimate(means, scores, stderr, reliability, posterior, fit.information)


def _pool_variance(fit: Fit, noise: JudgeNoise | None) -> tuple[float | None, float]:
    """Return the variance of one score's noise, None if unknown, and its degrees of freedom."""
    ss_error = fit.ss_error if fit.ss_error > _ROUNDING * max(1.0, fit.df_error) else 0.0
    if noise is not None and (noise.groups or fit.df_error <= 0):
        if noise.df == inf:
            return noise.variance, inf
        df = noise.df + fit.df_error
        return _round_to_digits((noise.df * noise.variance + ss_error) / df), df
    if fit.df_error <= 0:
        return None, 0.0
    return _round_to_digits(ss_error / fit.df_error), fit.df_error


def _round_to_digits(value: float) -> float:
    """Keep the first eleven digits, so that the order of a sum changes no bit of what follows."""
    return float(f"{value:.10e}")


def _standard_errors(covariance_II: Array, ms_error: float) -> list[float]:
    """Return the standard error of each effect, as if the group mean were known."""
    num_items = len(covariance_II)
    inflation = num_items / (num_items - 1)
    return [sqrt(ms_error * inflation * max(0.0, float(each))) for each in covariance_II.diagonal()]
