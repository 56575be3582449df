"""Choose the pairs of items to compare: a shuffled first round, then the most informative pairs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, islice
from random import Random

import numpy as np
from scipy.special import expit

from podium_service.scoring.bradley_terry import Strengths

Pair = tuple[int, int]


def choose_first_pairs(num_items: int, num_pairs: int, seed: int) -> list[Pair]:
    """Choose a first round of pairs.

    The pairs are neighbours in a shuffled cycle, then items at distance 2, 3 and so on; N - 1 pairs
    or more link all items. Before every pair has come once, no item is in more than two pairs
    above another. Then all pairs come again, the other way round.

    Raises:
        ValueError: If there are fewer than two items.
    """
    if num_items < 2:
        raise ValueError(f"{num_items} items make no pair")
    order = list(range(num_items))
    Random(seed).shuffle(order)
    return list(islice(_circulants(order), num_pairs))


def _circulants(order: Sequence[int]) -> Iterator[Pair]:
    size = len(order)
    for repeat in count():
        for distance in range(1, size // 2 + 1):
            steps = size // 2 if 2 * distance == size else size
            for start in range(steps):
                pair = order[start], order[(start + distance) % size]
                yield pair[::-1] if repeat % 2 else pair


def choose_next_pairs(
    strengths: Strengths, asked: Counter[Pair], num_pairs: int, *, seed: int
) -> list[Pair]:
    """Choose the pairs whose outcomes would teach the most.

    One more comparison of i and j shrinks the volume of the posterior by log(1 + p (1 - p) v), v
    the variance of theta_i - theta_j: most for two items that are close and not yet separated.
    Pairs are chosen one by one, and the covariance is updated as if each had been judged, which
    spreads a batch over the items. The gain of a pair that was asked n times is divided by n + 1,
    because the judge would give much the same answer again.

    Args:
        strengths: the fit so far, N >= 2.
        asked: how often each (first, second) was asked; (i, j) and (j, i) are two entries of one
            pair, which is chosen in the order that was asked less often.
        num_pairs: pairs wanted; a pair may be chosen twice once all others teach less.
        seed: decides between equals.

    Source:
        D-optimal design, e.g. Chaloner and Verdinelli 1995, Statistical Science 10(3).
    """
    theta = np.array(strengths.theta)
    size, random = len(theta), Random(seed)
    covariance = strengths.covariance.copy()
    chances = expit(theta[:, None] - theta[None, :])
    information = chances * (1 - chances)
    counts, repeats = Counter(asked), np.ones((size, size))
    for (i, j), times in asked.items():
        repeats[i, j] += times
        repeats[j, i] += times
    tie_breaks = 1 + 1e-9 * np.array([random.random() for _ in range(size**2)]).reshape(size, size)
    chosen: list[Pair] = []
    for _ in range(num_pairs):
        variances = np.diag(covariance)
        spread = variances[:, None] + variances[None, :] - 2 * covariance
        gains = np.triu(np.log1p(information * spread) / repeats * tie_breaks, 1)
        i, j = divmod(int(gains.argmax()), size)
        pair = _choose_order(i, j, counts, random)
        chosen.append(pair)
        counts[pair] += 1
        repeats[i, j] += 1
        repeats[j, i] += 1
        column = covariance[:, i] - covariance[:, j]
        shrink = information[i, j] / (1 + information[i, j] * spread[i, j])
        covariance -= shrink * np.outer(column, column)
    return chosen


def _choose_order(i: int, j: int, counts: Counter[Pair], random: Random) -> Pair:
    """Return the order that was asked less often; a random one if both were asked as often."""
    difference = counts[i, j] - counts[j, i] or random.random() - 0.5
    return (i, j) if difference < 0 else (j, i)
