"""Infer how much signal a group has, and what passes yield.

The signal ratio is the variance between trajectories over the noise variance of one score.
`p_value` tests whether it is zero. `ratio_likelihood` weighs the candidate ratios `RATIOS_R`, and
the reliability of a group is an expectation over these weights.
"""

from math import inf

import numpy as np
from scipy.special import chdtrc, fdtrc

from podium_service.scoring.least_squares import Array

RATIOS_R = np.array(
    [0, .03, .06, .1, .2, .35, .6, 1, 1.7, 3, 5, 9, 16, 30, 60, 120, 1000]
)  # fmt: skip
# The prior while nothing is learnt: a group of equals in one case of five, else any ratio. Against
# an even prior, squared cosines of advantages with the truth rise from .70 to .73 at four passes
# with noise equal to the spread, and from .74 to .76 at two with half the noise.
PRIOR_R = np.array([0.2] + [0.8 / (len(RATIOS_R) - 1)] * (len(RATIOS_R) - 1))
_NUMBERS_K = np.arange(1.0, 65.0)  # of passes


def p_value(
    ms_items: float, ms_error: float, df_items: int, df_error: float, *, negligible: float
) -> float:
    """Return the p value of the F test over trajectories; of a chi-square test for known errors.

    Args:
        ms_items, ms_error: mean squares between trajectories, and of the error.
        df_items, df_error: their degrees of freedom; `df_error` is infinite for a known error.
        negligible: mean squares up to this are zero; if nothing differs, the p value is infinite.
    """
    if ms_items <= negligible:
        return inf
    if ms_error <= negligible:
        return 0.0
    f = ms_items / ms_error
    if df_error == inf:
        return float(chdtrc(df_items, f * df_items))
    return float(fdtrc(df_items, df_error, f))


def ratio_likelihood(
    f: Array | float, information: Array | float, df_items: Array | float, df_error: Array | float
) -> Array:
    """Return the likelihood of each ratio of `RATIOS_R`, up to a factor, shape (..., R).

    `f / (1 + information * ratio)` has an F distribution.

    Args:
        f: mean square between trajectories over mean square of the error, shape (...).
        information: passes that the design is worth, shape (...).
        df_items, df_error: degrees of freedom of the mean squares, shape (...).
    """
    scale = 1 + np.multiply.outer(np.asarray(information, float), RATIOS_R)
    d1, d2 = np.asarray(df_items)[..., None], np.asarray(df_error)[..., None]
    x = np.maximum(np.asarray(f)[..., None], 1e-9) / scale
    finite = np.minimum(d2, 1e9)
    log = (d1 / 2 - 1) * np.log(x) - (d1 + finite) / 2 * np.log1p(d1 * x / finite) - np.log(scale)
    return np.asarray(np.exp(log - log.max(axis=-1, keepdims=True)))


def posterior_ratios(
    prior_R: Array, f: float, information: float, df_items: float, df_error: float
) -> Array:
    """Return the posterior probability of each ratio; see `ratio_likelihood`."""
    posterior_R = prior_R * ratio_likelihood(f, information, df_items, df_error)
    return np.asarray(posterior_R / posterior_R.sum())


def mean_reliability(ratios_R: Array, information: float) -> float:
    """Return the reliability after `information` passes, averaged over groups of these ratios."""
    return float(ratios_R @ reliabilities(information))


def yield_of_passes(ratios_R: Array, information: float, rollout_cost: float) -> Array:
    """Return the reliability per cost of 1, 2, ... 64 passes of every group, shape (64,).

    It is r(k) / (rollout_cost + k), with r(k) the mean reliability after k passes. The largest is
    what passes yield on average, if they are used well.

    Args:
        ratios_R: how often groups have each of `RATIOS_R`.
        information: of one pass.
        rollout_cost: of producing a group, in units of one pass.

    Source:
        The marginal value theorem: Charnov 1976, Theoretical Population Biology 9(2). A forager
        that has many places leaves each of them when it yields less than the best average.
    """
    signal_KR = np.multiply.outer(_NUMBERS_K * information, RATIOS_R)
    reliability_K = (signal_KR / (signal_KR + 1)) @ ratios_R
    return np.asarray(reliability_K / (rollout_cost + _NUMBERS_K))


def reliabilities(information: float) -> Array:
    """Return the reliability after `information` passes at each ratio of `RATIOS_R`.

    Source:
        Spearman 1910 and Brown 1910, British Journal of Psychology 3(3).
    """
    signal_R = information * RATIOS_R
    return np.asarray(signal_R / (signal_R + 1))
