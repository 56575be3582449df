"""Turn one number per group into one figure with a 95% interval, by a bootstrap over groups.

Whole groups are drawn with replacement, because trajectories of one group are not independent of
each other. All measures share the same seeded draws, so a card made twice is the same.

Source:
    The percentile interval: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 0
DRAWS = 1000

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure with its 95% interval; the interval is None for fewer than two groups."""

    value: float | None  # None if nothing could be measured; `reason` says why
    low: float | None
    high: float | None
    groups: int  # number of groups that have a value
    reason: str | None = None


class Bootstrap:
    """A set of draws of `num_groups` groups (>= 1) with replacement."""

    def __init__(self, num_groups: int) -> None:
        chances = np.full(num_groups, 1 / num_groups)
        generator = np.random.default_rng(SEED)
        self.weights: Array = generator.multinomial(num_groups, chances, DRAWS).astype(np.float64)

    def mean(self, values: Sequence[float | None], reason: str) -> Measure:
        """Average over the groups that have a value; `reason` explains that none has."""
        return self.ratio([None if value is None else (value, 1.0) for value in values], reason)

    def ratio(self, parts: Sequence[tuple[float, float] | None], reason: str) -> Measure:
        """Divide the sum of numerators by the sum of denominators, one pair per group."""

        def divide(sums: Array) -> Array:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.asarray(sums[..., 0] / sums[..., 1])

        sums = [None if part is None else np.array(part) for part in parts]
        return self.measure(sums, divide, reason)

    def measure(
        self, sums: Sequence[Array | None], statistic: Callable[[Array], Array], reason: str
    ) -> Measure:
        """Measure a statistic of sums over groups.

        Args:
            sums: per group its terms, of shape (D,), or None.
            statistic: sums of shape (..., D) -> values of shape (...); nan where undefined.
            reason: explains an undefined value.
        """
        value, draws = self.evaluate(sums, statistic)
        groups = sum(part is not None for part in sums)
        if value is None or not np.isfinite(value):
            return Measure(None, None, None, groups, reason)
        low, high = _interval(draws, groups)
        return Measure(float(value), low, high, groups)

    def evaluate(
        self, sums: Sequence[Array | None], statistic: Callable[[Array], Array]
    ) -> tuple[Any, Array]:
        """Return the statistic of all groups, None if no group has terms, and that of each draw."""
        terms = next((part for part in sums if part is not None and len(part)), None)
        if terms is None:
            return None, np.empty(0)
        parts = np.stack([np.zeros_like(terms) if part is None else part for part in sums])
        return statistic(parts.sum(axis=0)), statistic(self.weights @ parts)

    def quantile(self, values: Sequence[Sequence[float]], level: float, reason: str) -> Measure:
        """Return the smallest value that at least a `level` share of all values do not exceed."""
        flat = np.array([value for some in values for value in some], dtype=np.float64)
        if flat.size == 0:
            return Measure(None, None, None, 0, reason)
        owners = np.repeat(np.arange(len(values)), [len(some) for some in values])
        order = np.argsort(flat, kind="stable")
        flat, owners = flat[order], owners[order]

        def find(weights: Array) -> float:
            below = np.cumsum(weights[owners])
            if below[-1] == 0:
                return float("nan")
            return float(flat[np.searchsorted(below, level * below[-1])])

        groups = sum(1 for some in values if some)
        low, high = _interval(np.array([find(weights) for weights in self.weights]), groups)
        return Measure(find(np.ones(len(values))), low, high, groups)


def _interval(draws: Array, groups: int) -> tuple[float | None, float | None]:
    finite = draws[np.isfinite(draws)]
    if groups < 2 or finite.size == 0:
        return None, None
    low, high = np.quantile(finite, (0.025, 0.975)).tolist()
    return low, high
