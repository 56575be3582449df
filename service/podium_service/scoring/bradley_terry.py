"""Judged pairs -> strengths, and strengths -> the pairs worth judging next.

A comparison is (i, j, p): the probability in [0, 1] that i beats j. It is used as it is, as p of a
win and 1 - p of a loss; a tie is half of each. Davidson's model (1970) would fit one more parameter
to the share of ties, but a probability already carries its doubt: p = .5 and "a tie" are the same
evidence, so there is no tie to count apart from a doubtful win.

Probabilities vary less than the coin flips that the model takes them for, so the errors are
conservative. How much less depends on how well a judge repeats itself, which the caller knows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice
from random import Random
from typing import Self

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from podium_service.scoring.strengths import PRIOR_SD, Floats, Indices, Strengths, fit_strengths

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The Bradley-Terry likelihood of pairs."""

    wins: Floats  # wins[i, j]: sum of the probabilities that i beats j
    games: Floats  # games[i, j]: comparisons of i and j, in either order

    def value(self, theta: Floats) -> float:
        gaps = theta[:, None] - theta[None, :]
        return -float((self.wins * np.logaddexp(0.0, -gaps)).sum())

    def slopes(self, theta: Floats) -> tuple[Floats, Floats]:
        chances = expit(theta[:, None] - theta[None, :])
        gradient = (self.wins - self.games * chances).sum(axis=1)
        weights = self.games * chances * (1 - chances)
        return gradient, np.diag(weights.sum(axis=1)) - weights

    def reordered(self, order: Indices) -> Self:
        cells = np.ix_(order, order)
        return type(self)(self.wins[cells], self.games[cells])


def fit_pairs(
    num_items: int, pairs: Sequence[tuple[int, int, float]], prior_sd: float = PRIOR_SD
) -> Strengths:
    """Fit strengths to judged pairs.

    Args:
        num_items: N, at least 1.
        pairs: (i, j, p), p in [0, 1] the probability that i beats j; i != j, both below N. The
            order of pairs does not matter, and a pair may come back any number of times.
        prior_sd: standard deviation of the normal prior on a strength, in logits.

    Raises:
        ValueError: If a pair names an item twice or one that is not there, or p is not in [0, 1].

    Source:
        Bradley and Terry 1952, Biometrika 39(3/4).
    """
    table = _tabulate(num_items, pairs)
    components, _ = connected_components(table.games > 0, directed=False)
    return fit_strengths(table, num_items, freedom=num_items - int(components), prior_sd=prior_sd)


def _tabulate(num_items: int, pairs: Sequence[tuple[int, int, float]]) -> _Pairs:
    """Sum the outcomes by pair, smallest first, so that the order of pairs changes no bit."""
    if not pairs:
        empty = np.zeros((num_items, num_items))
        return _Pairs(empty, empty)
    firsts, seconds, chances = zip(*pairs, strict=True)
    first, second = np.array(firsts, dtype=np.intp), np.array(seconds, dtype=np.intp)
    chance = np.array(chances, dtype=np.float64)
    known = (np.minimum(first, second) >= 0) & (np.maximum(first, second) < num_items)
    good = known & (first != second) & (chance >= 0) & (chance <= 1)
    if not good.all():
        bad = pairs[int(good.argmin())]
        raise ValueError(f"{bad} is not a comparison of two of {num_items} items")
    cells = np.concatenate([first * num_items + second, second * num_items + first])
    outcomes = np.concatenate([chance, 1 - chance])
    order = np.argsort(outcomes)
    wins = np.bincount(cells[order], outcomes[order], minlength=num_items**2).astype(np.float64)
    games = np.bincount(cells, minlength=num_items**2).astype(np.float64)
    shape = (num_items, num_items)
    return _Pairs(wins.reshape(shape), games.reshape(shape))


def choose_first_pairs(num_items: int, count: int, seed: int) -> list[Pair]:
    """Deal a first round of `count` pairs, before anything is known.

    A cycle over a shuffled order, so that N - 1 pairs or more link all items, then neighbours at
    distance 2, 3 and so on. No item is in more than two pairs above another before all pairs have
    come once; then they come again, the other way round.

    Raises:
        ValueError: If there are fewer than two items.
    """
    if num_items < 2:
        raise ValueError(f"{num_items} items make no pair")
    order = list(range(num_items))
    Random(seed).shuffle(order)
    return list(islice(_circulants(order), count))


def _circulants(order: list[int]) -> Iterator[Pair]:
    size = len(order)
    for again in count_from():
        for distance in range(1, size // 2 + 1):
            steps = size // 2 if 2 * distance == size else size
            for start in range(steps):
                pair = order[start], order[(start + distance) % size]
                yield pair[::-1] if again % 2 else pair


def choose_next_pairs(
    strengths: Strengths, asked: Counter[Pair], count: int, *, seed: int
) -> list[Pair]:
    """Choose the pairs whose outcomes would teach the most.

    One more comparison of i and j shrinks the volume of the posterior by log(1 + p (1 - p) v),
    v the variance of theta_i - theta_j: most for two items that are near each other and not yet
    told apart. Pairs are taken one by one and the covariance is updated as if each had been
    judged, which spreads a batch over the items. A pair that was asked n times counts for
    1 / (n + 1): the judge would say much the same again.

    Args:
        strengths: the fit so far, N >= 2.
        asked: how often each (first, second) was asked; (i, j) and (j, i) are two entries of one
            pair, which comes in the order that was asked less often.
        count: pairs wanted; a pair may come twice once all others teach less.
        seed: decides between equals.

    Source:
        D-optimal design, e.g. Chaloner and Verdinelli 1995, Statistical Science 10(3).
    """
    theta = np.array(strengths.theta)
    size, random = len(theta), Random(seed)
    covariance = strengths.covariance.copy()
    chances = expit(theta[:, None] - theta[None, :])
    information = chances * (1 - chances)
    seen: Counter[Pair] = Counter()
    repeats = np.ones((size, size))
    for (i, j), times in asked.items():
        seen[i, j] += times
        repeats[i, j] += times
        repeats[j, i] += times
    luck = 1 + 1e-9 * np.array([random.random() for _ in range(size**2)]).reshape(size, size)
    chosen: list[Pair] = []
    for _ in range(count):
        variances = np.diag(covariance)
        spread = variances[:, None] + variances[None, :] - 2 * covariance
        gains = np.triu(np.log1p(information * spread) / repeats * luck, 1)
        i, j = divmod(int(gains.argmax()), size)
        pair = _less_asked(i, j, seen, random)
        chosen.append(pair)
        seen[pair] += 1
        repeats[i, j] += 1
        repeats[j, i] += 1
        column = covariance[:, i] - covariance[:, j]
        shrink = information[i, j] / (1 + information[i, j] * spread[i, j])
        covariance -= shrink * np.outer(column, column)
    return chosen


def _less_asked(i: int, j: int, seen: Counter[Pair], random: Random) -> Pair:
    if seen[i, j] == seen[j, i]:
        return (i, j) if random.random() < 0.5 else (j, i)
    return (i, j) if seen[i, j] < seen[j, i] else (j, i)
