"""Samples over time -> how fast they grow, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOUR_S = 3600.0


@dataclass(frozen=True)
class Trend:
    """Least-squares slope in units an hour, with its standard error."""

    per_hour: float
    stderr: float


def trend(times_s: Sequence[float], values: Sequence[float]) -> Trend:
    """Fit a line.

    Memory keeps what it had a moment ago, so that neighbouring samples are hardly two samples: the
    variance of the slope is widened by (1 + r) / (1 - r), r the residuals' correlation with the
    residuals one sample later (an autoregressive process of order one), where it is positive.

    Raises:
        ValueError: If there are fewer than three samples.
    """
    if len(times_s) < 3:
        raise ValueError(f"a trend needs 3 samples or more, has {len(times_s)}")
    hours = np.asarray(times_s, dtype=np.float64) / HOUR_S
    found = np.asarray(values, dtype=np.float64)
    centred = hours - hours.mean()
    spread = float(centred @ centred)
    slope = float(centred @ found) / spread
    residuals = found - found.mean() - slope * centred
    squares = float(residuals @ residuals)
    if squares == 0:
        return Trend(slope, 0.0)
    r = min(0.99, max(0.0, float(residuals[1:] @ residuals[:-1]) / squares))
    variance = squares / (len(found) - 2) / spread * (1 + r) / (1 - r)
    return Trend(slope, variance**0.5)
