"""See whether a judge has become noisier, or likes other slots, from what its groups told.

The groups are cut into windows. A window is compared with all that came before it: its noise by an
F test, its liking for late slots by the difference over its standard error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import fdtrc

from podium_service.scoring.least_squares import LINE_K
from podium_service.scoring.noise import DRIFT_HALF_LIFE, PastGroup
from podium_service.store.history.judging import TimedGroup

_CHANCE = 0.001  # of marking a window of a judge that has not changed
_DEVIATIONS = 3.3  # of a normal distribution, for the same chance


@dataclass(frozen=True)
class Window:
    """Some groups in a row.

    Attributes:
        at: when the last of them was ranked, in seconds since the epoch.
        noise_sd: standard deviation of a score between passes.
        slot_gain: by how much the last slot scores above the first; None if slots were not turned.
        is_noisier, is_calmer: whether the noise differs from all windows before.
        has_new_slots: whether the liking for slots does.
    """

    at: float
    groups: int
    noise_sd: float
    slot_gain: float | None
    is_noisier: bool = False
    is_calmer: bool = False
    has_new_slots: bool = False

    @property
    def has_drifted(self) -> bool:
        return self.is_noisier or self.is_calmer or self.has_new_slots


@dataclass(frozen=True)
class _Sums:
    squares: float
    df: float
    xtx: float
    xty: float

    @property
    def variance(self) -> float:
        return self.squares / self.df

    @property
    def gain(self) -> float | None:
        return self.xty / self.xtx if self.xtx > 1e-9 else None


def find_windows(groups: Sequence[TimedGroup], size: int = DRIFT_HALF_LIFE) -> list[Window]:
    """Return windows of `size` groups, oldest first; what is left over at the beginning is out."""
    first = len(groups) % size
    windows: list[Window] = []
    for start in range(first, len(groups), size):
        some = groups[start : start + size]
        own = _sum([each.past for each in some])
        before = _sum([each.past for each in groups[first:start]])
        is_noisier, is_calmer = _compare_noise(own, before)
        windows.append(
            Window(
                some[-1].at,
                len(some),
                sqrt(own.variance),
                own.gain,
                is_noisier,
                is_calmer,
                _differ_in_slots(own, before),
            )
        )
    return windows


def _sum(past: Sequence[PastGroup]) -> _Sums:
    with_slots = [each for each in past if each.slot_xty]
    return _Sums(
        squares=sum(each.ss_raw for each in past),
        df=sum(each.df_raw for each in past),
        xtx=sum(float(LINE_K @ np.array(each.slot_xtx) @ LINE_K) for each in with_slots),
        xty=sum(float(LINE_K @ np.array(each.slot_xty)) for each in with_slots),
    )


def _compare_noise(own: _Sums, before: _Sums) -> tuple[bool, bool]:
    """Return whether the noise is greater than before, and whether it is less."""
    if not before.df or not before.squares or not own.df:
        return bool(before.df and not before.squares and own.squares), False
    above = float(fdtrc(own.df, before.df, own.variance / before.variance))
    return above < _CHANCE, above > 1 - _CHANCE


def _differ_in_slots(own: _Sums, before: _Sums) -> bool:
    if own.gain is None or before.gain is None or not before.df:
        return False
    variance = (own.squares + before.squares) / (own.df + before.df)
    stderr = sqrt(variance * (1 / own.xtx + 1 / before.xtx))
    return abs(own.gain - before.gain) > _DEVIATIONS * stderr
