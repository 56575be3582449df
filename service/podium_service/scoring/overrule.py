"""Bring jurors to one scale, and find the votes that the other jurors overrule.

A vote is one juror's score of one item. It is compared with the other jurors' votes on that item.
How far honest votes differ is learnt from the other items, without the one that jurors dispute
most. So neither the item under test nor one further bad item sets the scale, and neither hides in
the spread that it causes.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, stdtr

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

REJECTION_LEVEL = 0.05  # for all tests of one round together (Bonferroni)
LEAST_VARIANCE = 1e-6  # the error variance on the common scale is at least this
_ROUNDING = 1e-9  # residuals whose relative difference is smaller are equal
_LOG_SPREAD_VARIANCE = 0.6  # sampling variance of a spread's logarithm, times the items less one
_LEAST_SPREAD = 0.2  # least spread of a juror over the median juror's spread


@dataclass(frozen=True, slots=True)
class JurorScores:
    """Scores of N items by J jurors, each of which scores at least two items differently."""

    means: Floats  # the mean scores on each juror's own scale, shape (J, N)
    noise: Floats  # the variances of the means by the juror's own estimate, shape (J, N)

    def select(self, jurors: Flags) -> Self:
        return type(self)(self.means[jurors], self.noise[jurors])


@dataclass(frozen=True, slots=True)
class AlignedScores:
    """The jurors' scores on one scale, for each of T sets of items that set the scale."""

    centres: Floats  # the mean of each juror's scores over the set, shape (T, J)
    spreads: Floats  # the shrunk deviation of those scores, shape (T, J)
    scores: Floats  # (means - centre) / spread, shape (T, J, N)
    noise: Floats  # the error variances on that scale, shape (T, J, N)
    interaction: Floats  # the variance of a juror's opinion of an item beyond its noise, shape (T,)


def align(jurors: JurorScores, sets: Flags, *, trimmed_from: int = 0) -> AlignedScores:
    """Bring jurors to one scale by the items of each set.

    A spread over few items is a poor estimate, so spreads are shrunk to their geometric mean.

    Args:
        jurors: on scales of their own.
        sets: the items of each set, at least two, shape (T, N).
        trimmed_from: the number of items from which each set omits the most disputed one, to
            correct the interaction for the omission; 0 for no omission.
    """
    inside = sets.astype(np.float64)
    sizes = inside.sum(axis=1, keepdims=True)
    middle = jurors.means.mean(axis=1, keepdims=True)
    offsets = jurors.means - middle
    centres = inside @ offsets.T / sizes
    squares = inside @ (offsets**2).T - sizes * centres**2
    sd = np.sqrt(np.maximum(squares, 0.0) / (sizes - 1))
    floor = np.maximum(_LEAST_SPREAD * np.median(sd, axis=1, keepdims=True), 1e-3 * offsets.std(1))
    log_spreads = np.log(np.maximum(sd, floor))
    spreads = np.exp(shrink_to_mean(log_spreads, _LOG_SPREAD_VARIANCE / (sizes - 1)))
    scores = (offsets[None] - centres[:, :, None]) / spreads[:, :, None]
    noise = jurors.noise[None] / spreads[:, :, None] ** 2
    df = (len(middle) - 1) * (inside.sum(axis=1) - 1)
    mean_square = (_squares_by_item(scores) * inside).sum(axis=1) / np.maximum(df, 1.0)
    mean_square /= _trimmed_share(trimmed_from, len(middle))
    mean_noise = (noise.mean(axis=1) * inside).sum(axis=1) / sizes[:, 0]
    interaction = np.maximum(0.0, mean_square - mean_noise)
    return AlignedScores(centres + middle.T, spreads, scores, noise, interaction)


def shrink_to_mean(values: Floats, sampling_variance: Floats | float) -> Floats:
    """Shrink values to the mean of their row, as far as sampling explains their differences.

    Values that differ no more than by sampling become equal, so equal jurors get equal weights. The
    shapes are (T, J) for values, and (T, 1) or one number for the variance of a value about its
    truth.

    Source:
        The positive part of the estimator of James and Stein 1961, Fourth Berkeley Symposium 1.
    """
    row_mean = values.mean(axis=1, keepdims=True)
    if values.shape[1] < 2:
        return values
    variance = np.maximum(values.var(axis=1, ddof=1, keepdims=True), 1e-12)
    share = np.maximum(0.0, 1 - sampling_variance / variance)
    return np.asarray(row_mean + share * (values - row_mean))


def _squares_by_item(scores: Floats) -> Floats:
    """Sum the squared distances of jurors from their mean on each item, shape (T, N)."""
    return np.asarray(((scores - scores.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))


def _trimmed_share(count: int, jurors: int) -> float:
    """Return the mean of `count` chi-squares without the largest, over the mean of all."""
    if count < 2:
        return 1.0
    df = jurors - 1
    largest = 2 * float(gammaincinv(df / 2, 1 - np.exp(-np.euler_gamma) / count))
    return (count - largest / df) / (count - 1)


def select_votes(jurors: JurorScores) -> Flags:
    """Select the votes that count, shape (J, N).

    The vote farthest from the other jurors' votes is dropped, one at a time, while its p-value
    times the number of votes tested is below .05. An item keeps at least two votes. It keeps all
    of them if two are equally far from the rest, because nobody can tell which one is wrong.

    Source:
        The externally studentised residual (Cook and Weisberg 1982, "Residuals and Influence in
        Regression") in a two-way layout.
    """
    counted = np.ones(jurors.means.shape, dtype=bool)
    while counted.size:
        residuals, df = _studentised_residuals(jurors, counted)
        tests = int(np.count_nonzero(residuals))
        farthest = residuals >= (1 - _ROUNDING) * residuals.max(axis=0)
        unique = np.where(farthest.sum(axis=0) == 1, residuals.max(axis=0), 0.0)
        largest = float(unique.max())
        if largest == 0 or 2 * tests * float(stdtr(df, -largest)) >= REJECTION_LEVEL:
            break
        # Votes on equal items have equal residuals, and are dropped together.
        counted[farthest & (unique >= (1 - _ROUNDING) * largest)] = False
    return counted


def _studentised_residuals(jurors: JurorScores, counted: Flags) -> tuple[Floats, float]:
    """Return the distance of each vote from the others on its item, and the degrees of freedom.

    The distances, shape (J, N), are absolute and in standard errors. A vote that cannot be tested
    has distance 0: its item has fewer than three votes, or there are too few undisputed items.
    """
    num_jurors, num_items = counted.shape
    sets: Flags = np.outer(np.ones(num_items, dtype=bool), counted.all(axis=0))
    np.fill_diagonal(sets, False)
    size = int(sets.sum(axis=1).min())
    if num_jurors < 3 or size < 3:
        return np.zeros((num_jurors, num_items)), 1.0
    trimmed_from = 0
    if size >= 5:
        squares = np.where(sets, _squares_by_item(align(jurors, sets).scores), -1.0)
        sets[np.arange(num_items), squares.argmax(axis=1)] = False
        trimmed_from, size = size, size - 1
    aligned = align(jurors, sets, trimmed_from=trimmed_from)
    items = np.arange(num_items)
    votes = aligned.scores[items, :, items].T
    variances = aligned.noise[items, :, items].T + aligned.interaction
    variances = np.maximum(variances, LEAST_VARIANCE)
    weights = counted / variances
    other_weights = np.maximum(weights.sum(axis=0) - weights, 1e-300)
    expected = ((weights * votes).sum(axis=0) - weights * votes) / other_weights
    errors = np.sqrt((variances + 1 / other_weights) * (1 + 1 / size))
    testable = counted & np.asarray(counted.sum(axis=0) >= 3)
    residuals = np.where(testable, np.abs(votes - expected) / errors, 0.0)
    return residuals, (num_jurors - 1.0) * (size - 1)
