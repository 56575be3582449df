"""Learn a judge's noise and its slot bias from its past groups, by empirical Bayes.

How much a judge's scores vary between passes, and which slots it favours, are properties of the
judge more than of one group. With past groups, even a single pass has a known error.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Self

import numpy as np

from podium_service.scoring.least_squares import KNOTS, LINE_K, Array, Fit
from podium_service.scoring.signal_ratio import PRIOR_R, ratio_likelihood

MIN_GROUPS = 20  # with fewer, a group's own passes are a better guide
MAX_GROUPS = 1000  # only the most recent groups count, because judges drift
_MIN_DF_BEYOND_MEAN = 4.0
_PSEUDO_GROUPS, _EM_STEPS = 5.0, 300
DRIFT_HALF_LIFE = 20  # groups
_DRIFT_DECAY = 0.5 ** (1 / DRIFT_HALF_LIFE)


@dataclass(frozen=True, slots=True)
class PastGroup:
    """The summary of one group that the judge's noise is learnt from; see `Fit`."""

    length: int  # trajectories shown in a call
    items: int  # distinct trajectories of the group
    information: float
    ss_items: float
    ss_raw: float
    df_raw: float
    slot_xtx: list[list[float]]
    slot_xty: list[float]

    @classmethod
    def from_fit(cls, fit: Fit, length: int) -> Self:
        """Summarise a fitted group whose calls show `length` trajectories each."""
        squares = fit.information, fit.ss_items, fit.ss_raw, fit.df_raw
        slots = fit.slot_xtx_KK.round(9).tolist(), fit.slot_xty_K.round(9).tolist()
        return cls(length, len(fit.effects_I), *squares, *slots)

    @property
    def has_residuals(self) -> bool:
        """Whether its passes could contradict each other, so that they show noise."""
        return self.df_raw > 0


EMPTY_PAST_GROUP = PastGroup(0, 0, 0.0, 0.0, 0.0, 0.0, [], [])


@dataclass(frozen=True, slots=True)
class JudgeNoise:
    """The noise assumed of a judge before a group is judged; stored with the rankings it is in."""

    variance: float  # the variance of one score's noise
    df: float  # the variance's degrees of freedom; infinite if it was configured
    groups: int = 0  # the number of past groups it was learnt from; 0 if it was configured
    slots: tuple[float, ...] = ()  # bias at `KNOTS` places of a list, mean 0; empty if unknown
    ratios: tuple[float, ...] = ()  # probability of each of `RATIOS_R`; empty if unknown

    @property
    def slots_K(self) -> Array | None:
        return np.array(self.slots) if self.slots else None

    @property
    def ratios_R(self) -> Array:
        return np.array(self.ratios) if self.ratios else PRIOR_R

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
    """Return the noise in calls that show about `length` trajectories; None if few groups show it.

    The variance of a group is taken to follow a scaled inverse chi-square distribution, fitted to
    the moments of the variances, where Smyth fits those of their logarithms. A judge that is as
    noisy in every group gets many degrees of freedom, one that is noisier in some groups gets few.

    Source:
        Smyth 2004, "Linear models and empirical Bayes methods", Statistical Applications in
        Genetics and Molecular Biology 3(1), for the prior on variances; Laird 1978, Journal of the
        American Statistical Association 73, for the distribution of signal ratios, by
        expectation-maximisation.
    """
    similar = [group for group in past if 4 * abs(group.length - length) <= length]
    noisy = [group for group in similar if group.has_residuals]
    if len(noisy) < MIN_GROUPS:
        return None
    slots_K, slots_df = _fit_slots(noisy)
    df_G = np.array([group.df_raw for group in noisy])
    df_G *= 1 - slots_df / df_G.sum()
    variance_G = _residual_squares(noisy, slots_K) / df_G
    variance, df = _fit_inverse_chi_square(variance_G, df_G)
    ratios_R = _fit_ratios(similar, variance, df)
    slots, ratios = tuple(map(float, slots_K)), tuple(map(float, ratios_R))
    return JudgeNoise(variance, df, len(noisy), slots, ratios)


def _fit_slots(groups: Sequence[PastGroup]) -> tuple[Array, float]:
    """Return the slot effects, mean 0, and the degrees of freedom that they take.

    They are shrunk as if their variance were that of the noise (ridge regression).
    """
    xtx = np.sum([group.slot_xtx for group in groups], axis=0)
    xty = np.sum([group.slot_xty for group in groups], axis=0)
    slots_K = np.linalg.solve(xtx + np.eye(KNOTS), xty)
    df = float(np.trace(np.linalg.solve(xtx + np.eye(KNOTS), xtx)))
    return np.asarray((slots_K - slots_K.mean()).round(9)), df


def _residual_squares(groups: Sequence[PastGroup], slots_K: Array) -> Array:
    """Return each group's residual sum of squares after the slot effects are removed."""
    xtx = np.array([group.slot_xtx for group in groups])
    xty = np.array([group.slot_xty for group in groups])
    raw = np.array([group.ss_raw for group in groups])
    removed = 2 * xty @ slots_K - np.einsum("k,gkl,l->g", slots_K, xtx, slots_K)
    return np.asarray(np.maximum(0.0, raw - removed))


def _fit_inverse_chi_square(variance_G: Array, df_G: Array) -> tuple[float, float]:
    """Return the scale of the prior, and its degrees of freedom, at most those of the data."""
    mean = float(df_G @ variance_G / df_G.sum())
    max_df = float(df_G.sum())
    if mean <= 0:
        return 0.0, max_df
    second = float((df_G @ (variance_G**2 / (1 + 2 / df_G))) / df_G.sum())
    spread = second / mean**2 - 1
    if spread <= 0:
        return mean, max_df
    df = _MIN_DF_BEYOND_MEAN + 2 / spread
    return mean * (df - 2) / df, 1 / (1 / df + 1 / max_df)


def _fit_ratios(groups: Sequence[PastGroup], variance: float, df: float) -> Array:
    """Return how often a group has each signal ratio of `RATIOS_R`, smoothed toward the prior."""
    if variance <= 0:
        return PRIOR_R
    df_items = np.array([group.items - 1.0 for group in groups])
    f = np.array([group.ss_items for group in groups]) / df_items / variance
    information = np.array([group.information for group in groups])
    likelihood_GR = ratio_likelihood(f, information, df_items, np.full(len(f), df))
    ratios_R = PRIOR_R
    for _ in range(_EM_STEPS):
        evidence_G = likelihood_GR @ ratios_R
        expected_R = ratios_R * (likelihood_GR.T @ (1 / evidence_G))  # groups of each ratio
        ratios_R = expected_R + _PSEUDO_GROUPS * PRIOR_R
        ratios_R /= ratios_R.sum()
    return np.asarray(ratios_R.round(9))


class SlotDrift:
    """The recent slot bias of one judge, which shows drift before the learnt noise moves.

    It is a slope along a list, by exponentially weighted least squares: a group counts half as much
    as one that comes `DRIFT_HALF_LIFE` groups later.
    """

    def __init__(self) -> None:
        self._xtx = self._xty = 0.0

    def add(self, past: PastGroup) -> float | None:
        """Take a group into account, and return the gain of the last slot over the first.

        It is on the judge's scale; None while each trajectory of each group was shown only once.
        """
        if past.slot_xty:
            self._xtx = _DRIFT_DECAY * self._xtx + float(LINE_K @ np.array(past.slot_xtx) @ LINE_K)
            self._xty = _DRIFT_DECAY * self._xty + float(LINE_K @ np.array(past.slot_xty))
        return self._xty / self._xtx if self._xtx > 1e-9 else None
