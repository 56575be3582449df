"""Jurors' scores of the same items -> one scale, and which of them the rest overrules.

A juror is compared with the others one item at a time. What is "beyond its noise" is learnt from
the other items, less the one of them that is disputed most: so neither the item under test nor one
further bad item sets the scale or hides behind the spread it makes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, stdtr

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

REJECTION_LEVEL = 0.05  # for all tests of one round together (Bonferroni)
_SAME = 1e-9  # distances are the same if they differ by less, relatively
LEAST_VARIANCE = 1e-6  # of an error, on the common scale; below it is none

_SPREAD_CHANCE = 0.6  # variance of a spread's logarithm by chance, times the items less one
_LEAST_SPREAD = 0.2  # of a juror, against the median juror's


@dataclass(frozen=True, slots=True)
class Bench:
    """What J jurors say of N items; every juror tells at least two items apart.

    Attributes:
        means: scores, each juror on its own scale, shape (J, N).
        noise: variances of the means by the juror's own account, shape (J, N).
    """

    means: Floats
    noise: Floats


@dataclass(frozen=True, slots=True)
class Aligned:
    """The bench on one scale, for each of T sets of items that may set the scale.

    Attributes:
        centres, spreads: of each juror over the set, shape (T, J).
        scores: (means - centre) / spread, shape (T, J, N).
        noise: on that scale, shape (T, J, N).
        taste: variance of a juror's opinion of an item beyond its noise, shape (T,).
    """

    centres: Floats
    spreads: Floats
    scores: Floats
    noise: Floats
    taste: Floats


def align(bench: Bench, sets: Flags, *, trimmed_from: int = 0) -> Aligned:
    """Bring jurors to one scale by the items of each set, shape (T, N), two or more in each.

    A spread over few items is a poor estimate: spreads are drawn toward their geometric mean.

    Args:
        trimmed_from: if a set lacks the most disputed of so many items, that number, to undo what
            this takes from the disagreement.
    """
    inside = sets.astype(np.float64)
    sizes = inside.sum(axis=1, keepdims=True)
    middle = bench.means.mean(axis=1, keepdims=True)
    offsets = bench.means - middle
    centres = inside @ offsets.T / sizes
    squares = inside @ (offsets**2).T - sizes * centres**2
    sd = np.sqrt(np.maximum(squares, 0.0) / (sizes - 1))
    floor = np.maximum(_LEAST_SPREAD * np.median(sd, axis=1, keepdims=True), 1e-3 * offsets.std(1))
    logs = np.log(np.maximum(sd, floor))
    by_chance = _SPREAD_CHANCE / (sizes - 1)
    spreads = np.exp(toward_mean(logs, by_chance))
    scores = (offsets[None] - centres[:, :, None]) / spreads[:, :, None]
    noise = bench.noise[None] / spreads[:, :, None] ** 2
    disagreement = _disagreement(scores, inside) / _left_after_trimming(trimmed_from, len(middle))
    mean_noise = (noise.mean(axis=1) * inside).sum(axis=1) / sizes[:, 0]
    taste = np.maximum(0.0, disagreement - mean_noise)
    return Aligned(centres + middle.T, spreads, scores, noise, taste)


def toward_mean(values: Floats, by_chance: Floats | float) -> Floats:
    """Draw values, shape (T, J), toward the mean of their row as far as they differ by chance.

    Values that differ no more than by chance become equal; equal jurors are averaged evenly.

    Args:
        by_chance: variance of a value around its truth, shape (T, 1) or one for all.

    Source:
        James and Stein 1961, the positive part.
    """
    shared = values.mean(axis=1, keepdims=True)
    if values.shape[1] < 2:
        return values
    differing = np.maximum(values.var(axis=1, ddof=1, keepdims=True), 1e-12)
    return np.asarray(shared + np.maximum(0.0, 1 - by_chance / differing) * (values - shared))


def _disputes(scores: Floats) -> Floats:
    """Sum of squares of the jurors around their mean, for each item, shape (T, N)."""
    return np.asarray(((scores - scores.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))


def _disagreement(scores: Floats, inside: Floats) -> Floats:
    """Residual mean square of jurors x items over each set, shape (T,); 0 for one juror."""
    degrees = (scores.shape[1] - 1) * (inside.sum(axis=1) - 1)
    squares: Floats = (_disputes(scores) * inside).sum(axis=1)
    return np.asarray(squares / np.maximum(degrees, 1.0))


def _left_after_trimming(count: int, jurors: int) -> float:
    """Mean of `count` chi-squares less the largest, against the mean of all."""
    if count < 2:
        return 1.0
    degrees = jurors - 1
    largest = 2 * float(gammaincinv(degrees / 2, 1 - np.exp(-np.euler_gamma) / count))
    return (count - largest / degrees) / (count - 1)


def overrule(bench: Bench) -> Flags:
    """Find which juror's say on which item counts, shape (J, N).

    One by one, the say farthest from the others' is dropped, while its p-value times the number of
    says tested is below .05. An item keeps at least two jurors, and all if two are equally far.

    Source:
        The externally studentised residual of Cook and Weisberg 1982 in a two-way layout.
    """
    counted = np.ones(bench.means.shape, dtype=bool)
    while counted.size:
        distance, freedom = _distances(bench, counted)
        tests = int(np.count_nonzero(distance))
        farthest = distance >= (1 - _SAME) * distance.max(axis=0)
        # Of two says that are equally far from the others' nobody can tell which is wrong.
        clear = np.where(farthest.sum(axis=0) == 1, distance.max(axis=0), 0.0)
        worst = float(clear.max())
        if worst == 0 or 2 * tests * float(stdtr(freedom, -worst)) >= REJECTION_LEVEL:
            break
        counted[farthest & (clear >= (1 - _SAME) * worst)] = False  # equal items go together
    return counted


def _distances(bench: Bench, counted: Flags) -> tuple[Floats, float]:
    """How many standard errors each say, (J, N), is from the others' of the same item.

    Zero for what cannot be tested: an item with fewer than three says, or too few undisputed items.
    """
    jurors, items = counted.shape
    sets: Flags = np.outer(np.ones(items, dtype=bool), counted.all(axis=0))
    np.fill_diagonal(sets, False)
    size = int(sets.sum(axis=1).min())
    if jurors < 3 or size < 3:
        return np.zeros((jurors, items)), 1.0
    trimmed = 0
    if size >= 5:
        disputes = np.where(sets, _disputes(align(bench, sets).scores), -1.0)
        sets[np.arange(items), disputes.argmax(axis=1)] = False
        trimmed, size = size, size - 1
    aligned = align(bench, sets, trimmed_from=trimmed)
    each = np.arange(items)
    says = aligned.scores[each, :, each].T
    variances = aligned.noise[each, :, each].T + aligned.taste
    variances = np.maximum(variances, LEAST_VARIANCE)
    weights = counted / variances
    rest = np.maximum(weights.sum(axis=0) - weights, 1e-300)
    expected = ((weights * says).sum(axis=0) - weights * says) / rest
    errors = np.sqrt((variances + 1 / rest) * (1 + 1 / size))
    testable = counted & np.asarray(counted.sum(axis=0) >= 3)
    return np.where(testable, np.abs(says - expected) / errors, 0.0), (jurors - 1.0) * (size - 1)
