"""A judge's noise and its liking for slots, learnt over its past groups: empirical Bayes.

How much a judge's scores vary between passes, and which slots it favours, are properties of the
judge more than of one group. Past groups tell them: then even one pass knows how far to trust
itself, and a few passes need not estimate their own error from a handful of residuals.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Self

import numpy as np

from podium_service.scoring.least_squares import KNOTS, Array, Fit

MIN_GROUPS = 20  # below, a group's own passes are a better guide
MAX_GROUPS = 1000  # the most recent ones; judges drift
_MIN_DF_BEYOND_MEAN = 4.0
# What a signal ratio (variance between trajectories over noise variance of one score) may be.
RATIOS_R = np.array(
    [0, .03, .06, .1, .2, .35, .6, 1, 1.7, 3, 5, 9, 16, 30, 60, 120, 1000]
)  # fmt: skip
FLAT_R = np.full(len(RATIOS_R), 1 / len(RATIOS_R))
_PSEUDO_GROUPS, _EM_STEPS = 5.0, 40


@dataclass(frozen=True, slots=True)
class PastGroup:
    """What one group says about its judge; sums of squares are on the judge's scale.

    Attributes:
        length: trajectories shown in a call.
        items: distinct trajectories of the group.
        information, ss_items, ss_raw, df_raw, slot_xtx, slot_xty: see `Fit`.
    """

    length: int
    items: int
    information: float
    ss_items: float
    ss_raw: float
    df_raw: float
    slot_xtx: list[list[float]]
    slot_xty: list[float]

    @classmethod
    def from_fit(cls, fit: Fit, length: int) -> Self:
        """Summarise a fitted group whose calls show `length` trajectories each."""
        return cls(
            length=length,
            items=len(fit.effects_I),
            information=fit.information,
            ss_items=fit.ss_items,
            ss_raw=fit.ss_raw,
            df_raw=fit.df_raw,
            slot_xtx=fit.slot_xtx_KK.round(9).tolist(),
            slot_xty=fit.slot_xty_K.round(9).tolist(),
        )

    @property
    def has_residuals(self) -> bool:
        """Whether its passes contradict each other, or could have."""
        return self.df_raw > 0


EMPTY_PAST_GROUP = PastGroup(0, 0, 0.0, 0.0, 0.0, 0.0, [], [])


@dataclass(frozen=True, slots=True)
class JudgeNoise:
    """What is known of a judge before a group is judged; kept with each ranking that used it.

    Attributes:
        variance: of one score's noise.
        df: how many degrees of freedom that knowledge is worth; infinite if it was configured.
        groups: the past groups it rests on; 0 if it was configured.
        slots: the judge's bias at `KNOTS` relative places of a list, mean 0; empty if unknown.
        ratios: probability of each signal ratio of `RATIOS_R`; empty if unknown.
    """

    variance: float
    df: float
    groups: int = 0
    slots: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()

    @property
    def slots_K(self) -> Array | None:
        return np.array(self.slots) if self.slots else None

    @property
    def ratios_R(self) -> Array:
        return np.array(self.ratios) if self.ratios else FLAT_R

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"df": None if self.df == inf else self.df}

    @classmethod
    def from_sd(cls, noise_sd: float) -> Self:
        """Return noise of a configured standard deviation, which is taken as certain."""
        return cls(variance=noise_sd**2, df=inf)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        tuples = {name: tuple(data[name]) for name in ("slots", "ratios")}
        return cls(**(data | tuples | {"df": inf if data["df"] is None else data["df"]}))


def learn_noise(past: Sequence[PastGroup], length: int) -> JudgeNoise | None:
    """The judge's noise for lists of about `length`; None while too few groups tell.

    The variance and its degrees of freedom are those of a scaled inverse chi-square prior over
    groups (as Smyth's, but matched by the moments of the variances, not of their logarithms); a
    judge that is as noisy in every group gets many degrees of freedom, one that is not gets few.

    Source:
        Smyth 2004, "Linear models and empirical Bayes methods", for the prior on variances; Laird
        1978 for the distribution of signal, by expectation-maximisation.
    """
    alike = [group for group in past if 4 * abs(group.length - length) <= length]
    telling = [group for group in alike if group.has_residuals]
    if len(telling) < MIN_GROUPS:
        return None
    slots_K, slots_df = _slots(telling)
    df_G = np.array([group.df_raw for group in telling])
    df_G *= 1 - slots_df / df_G.sum()
    variance_G = _sums_of_squares(telling, slots_K) / df_G
    variance, df = _inverse_chi_square(variance_G, df_G)
    noise = JudgeNoise(variance, df, len(telling), tuple(map(float, slots_K)))
    ratios_R = _ratios(alike, noise)
    return JudgeNoise(variance, df, len(telling), noise.slots, tuple(map(float, ratios_R)))


def ratio_likelihood(
    f: Array | float, information: Array | float, df_items: Array | float, df_error: Array | float
) -> Array:
    """The likelihood of each ratio of `RATIOS_R`, up to a factor, given the F ratio of a group.

    `F / (1 + information * ratio)` has an F distribution. Shape (..., R).
    """
    scale = 1 + np.multiply.outer(np.asarray(information, float), RATIOS_R)
    d1, d2 = np.asarray(df_items)[..., None], np.asarray(df_error)[..., None]
    x = np.maximum(np.asarray(f)[..., None], 1e-9) / scale
    finite = np.minimum(d2, 1e9)
    log = (d1 / 2 - 1) * np.log(x) - (d1 + finite) / 2 * np.log1p(d1 * x / finite) - np.log(scale)
    return np.asarray(np.exp(log - log.max(axis=-1, keepdims=True)))


def _slots(groups: Sequence[PastGroup]) -> tuple[Array, float]:
    """Slot effects, shrunk as if their variance were that of the noise; mean 0. And how many
    degrees of freedom they take."""
    xtx = np.sum([group.slot_xtx for group in groups], axis=0)
    xty = np.sum([group.slot_xty for group in groups], axis=0)
    slots_K = np.linalg.solve(xtx + np.eye(KNOTS), xty)
    df = float(np.trace(np.linalg.solve(xtx + np.eye(KNOTS), xtx)))
    return np.asarray((slots_K - slots_K.mean()).round(9)), df


def _sums_of_squares(groups: Sequence[PastGroup], slots_K: Array) -> Array:
    """Residual sums of squares once the slot effects are removed."""
    xtx = np.array([group.slot_xtx for group in groups])
    xty = np.array([group.slot_xty for group in groups])
    raw = np.array([group.ss_raw for group in groups])
    removed = 2 * xty @ slots_K - np.einsum("k,gkl,l->g", slots_K, xtx, slots_K)
    return np.asarray(np.maximum(0.0, raw - removed))


def _inverse_chi_square(variance_G: Array, df_G: Array) -> tuple[float, float]:
    """Scale and degrees of freedom of the prior, the latter never more than the data's own."""
    mean = float(df_G @ variance_G / df_G.sum())
    own = float(df_G.sum())
    if mean <= 0:
        return 0.0, own
    second = float((df_G @ (variance_G**2 / (1 + 2 / df_G))) / df_G.sum())
    spread = second / mean**2 - 1
    if spread <= 0:
        return mean, own
    df = _MIN_DF_BEYOND_MEAN + 2 / spread
    return mean * (df - 2) / df, 1 / (1 / df + 1 / own)


def _ratios(groups: Sequence[PastGroup], noise: JudgeNoise) -> Array:
    """How often groups of this judge have how much signal; smoothed toward evenness."""
    if noise.variance <= 0:
        return FLAT_R
    items = np.array([group.items - 1.0 for group in groups])
    f = np.array([group.ss_items for group in groups]) / items / noise.variance
    information = np.array([group.information for group in groups])
    likelihood_GR = ratio_likelihood(f, information, items, np.full(len(f), noise.df))
    ratios_R = FLAT_R
    for _ in range(_EM_STEPS):
        posterior_GR = likelihood_GR * ratios_R
        posterior_GR /= posterior_GR.sum(axis=1, keepdims=True)
        ratios_R = posterior_GR.sum(axis=0) + _PSEUDO_GROUPS * FLAT_R
        ratios_R /= ratios_R.sum()
    return np.asarray(ratios_R.round(9))
