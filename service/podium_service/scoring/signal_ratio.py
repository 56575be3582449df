"""Infer how much signal a group has, and what one more pass would gain.

The signal ratio is the variance between trajectories over the noise variance of one score.
`p_value` tests whether it is zero. `ratio_likelihood` weighs the candidate ratios `RATIOS_R`, and
the reliability of the group and the gain of one more pass are expectations over these weights.
"""

from math import inf, pi

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


def expected_reliability(posterior_R: Array, information: float) -> float:
    """Average the reliability after `information` passes over the posterior of the ratio."""
    return float(posterior_R @ reliabilities(information))


def expected_gain(posterior_R: Array, information: float) -> float:
    """Return the expected share of pairs that one more pass puts in their right order.

    A share (1 + tau) / 2 of pairs is in order, and tau = 2 / pi * asin(sqrt(reliability)) for a
    truth and its noisy estimate that are both normal.

    Source:
        Kruskal 1958, "Ordinal measures of association", for tau under the normal distribution.
    """
    now, after = np.sqrt(reliabilities(information)), np.sqrt(reliabilities(information + 1))
    return float(posterior_R @ (np.arcsin(after) - np.arcsin(now)) / pi)


def reliabilities(information: float) -> Array:
    """Return the reliability after `information` passes at each ratio of `RATIOS_R`.

    Source:
        Spearman 1910 and Brown 1910, British Journal of Psychology 3(3).
    """
    signal_R = information * RATIOS_R
    return np.asarray(signal_R / (signal_R + 1))
