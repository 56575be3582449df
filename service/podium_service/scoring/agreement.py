"""Tell how far values agree with labels: over pairs of items, and at the top."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from podium_service.scoring.bootstrap import Array


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of values with labels, over the pairs of items whose labels differ.

    Attributes:
        accuracy: share of pairs in the right order; a tie is not right.
        auc: chance that the better item has the higher value; a tie counts half.
        tau_b: Kendall's tau_b; 0 where all values tie.
        top1: chance that one of the items with the highest value, drawn at random, has the highest
            label; None if the values do not cover the group.
    """

    accuracy: float
    auc: float
    tau_b: float
    top1: float | None


def agreement(values: Sequence[float], labels: Sequence[float]) -> Agreement | None:
    """Compare values with labels, both per item; None where all labels are equal."""
    if len(set(labels)) < 2:
        return None
    signs, true_signs = pair_signs(values), pair_signs(labels)
    differ = true_signs != 0
    right, tied = signs[differ] == true_signs[differ], signs[differ] == 0
    most = max(values)
    best = [label for value, label in zip(values, labels, strict=True) if value == most]
    return Agreement(
        accuracy=float(right.mean()),
        auc=float(right.mean() + tied.mean() / 2),
        tau_b=_tau_b(signs, true_signs) or 0.0,
        top1=best.count(max(labels)) / len(best),
    )


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau_b: 0 where one side ties all items, None where both do.

    It is the number of concordant less that of discordant pairs, over the geometric mean of the
    numbers of pairs that each side does not tie.

    Source:
        Kendall 1945, Biometrika 33(3).
    """
    return _tau_b(pair_signs(first), pair_signs(second))


def _tau_b(a: Array, b: Array) -> float | None:
    untied_a, untied_b = np.count_nonzero(a), np.count_nonzero(b)
    if untied_a == 0 or untied_b == 0:
        return None if untied_a == untied_b else 0.0
    return float((a * b).sum() / np.sqrt(float(untied_a) * float(untied_b)))


def pair_signs(values: Sequence[float]) -> Array:
    """Return the sign of each pair's difference, i < j, shape (n (n - 1) / 2,)."""
    array = np.asarray(values, dtype=np.float64)
    i, j = _pairs(len(array))
    return np.asarray(np.sign(array[i] - array[j]))


@lru_cache(maxsize=256)  # making them takes longer than all else
def _pairs(number: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(number, k=1)
