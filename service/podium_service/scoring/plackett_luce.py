"""Judged orders of some of the items -> strengths.

An order is a list of tie classes, best first: [[3], [0, 2], [1]]. The model picks the best of what
is left, again and again. Ties take Efron's approximation (1977): while m tied items are taken one
by one, each counts (m - l) / m in the l-th choice. It stands for the mean log-likelihood of all
ways to break the tie, which costs m! terms; Breslow's, which keeps all m at full weight, is not
centred: it pulls tied items down. The last choice of an order is no choice and is left out, also in
a tie. So two tied items count half a win each, as in `bradley_terry`.

The p-value is not the likelihood ratio's, which is below .05 for 10% to 12% of groups without
signal when orders are few, but that of Durbin's test, which asks whether orders agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, fsum, lgamma
from typing import Self

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import fdtrc

from podium_service.scoring.strengths import PRIOR_SD, Floats, Indices, Strengths, most_likely

Order = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Choices:
    """The Plackett-Luce likelihood of choices; each order of k items is k - 1 choices."""

    offered: Floats  # offered[c, i]: weight of item i in choice c, 0 if it is not there
    chosen: Floats  # chosen[i]: choices that item i won

    def value(self, theta: Floats) -> float:
        # Strengths are logits of a group under a prior: far from where exp overflows.
        totals = self.offered @ np.exp(theta)
        return float((self.chosen * theta).sum() - np.log(totals).sum())

    def slopes(self, theta: Floats) -> tuple[Floats, Floats]:
        chances = self.offered * np.exp(theta)
        chances /= chances.sum(axis=1, keepdims=True)
        expected = chances.sum(axis=0)
        return self.chosen - expected, np.diag(expected) - chances.T @ chances

    def reordered(self, order: Indices) -> Self:
        columns = self.offered[:, order]
        rows = sorted(range(len(columns)), key=lambda row: columns[row].tobytes())
        return type(self)(columns[rows], self.chosen[order])


def fit(num_items: int, orders: Sequence[Order], prior_sd: float = PRIOR_SD) -> Strengths:
    """Fit strengths to judged orders.

    Args:
        num_items: N, at least 1.
        orders: each a list of tie classes, best first, over some of the items. One that holds
            fewer than two items says nothing.
        prior_sd: standard deviation of the normal prior on a strength, in logits.

    Raises:
        ValueError: If an order names an item twice or one that is not there.

    Source:
        Plackett 1975, Applied Statistics 24(2); Luce 1959; Efron 1977, JASA 72(359) for ties;
        Durbin 1951, British Journal of Statistical Psychology 4(2) for the test.
    """
    told = [order for order in orders if sum(map(len, order)) > 1]
    places = _place(num_items, told)
    chosen = np.sort(places.chosen, axis=0).sum(axis=0)  # sorted: the same bits in any order
    present = (places.ends > 0).astype(np.float64)
    components, _ = connected_components(present.T @ present > 0, directed=False)
    fitted = most_likely(
        _Choices(_offered(places), chosen),
        num_items,
        freedom=num_items - int(components),
        prior_sd=prior_sd,
    )
    return replace(fitted, p_value=_agreement_p_value(told, present, num_items - int(components)))


@dataclass(frozen=True, slots=True)
class _Places:
    """Where each order, a row, puts each item, a column."""

    ends: Floats  # how many are as good or better; 0 if the order does not hold the item
    sizes: Floats  # size of the item's tie class
    chosen: Floats  # choices the item won


def _place(num_items: int, orders: Sequence[Order]) -> _Places:
    shape = (len(orders), num_items)
    ends, sizes, chosen = np.zeros(shape), np.ones(shape), np.zeros(shape)
    for row, order in enumerate(orders):
        total, end = sum(map(len, order)), 0
        for tied in order:
            size = len(tied)
            end += size
            for item in tied:
                if not 0 <= item < num_items or ends[row, item]:
                    raise ValueError(f"{order} is not an order of some of {num_items} items")
                ends[row, item], sizes[row, item] = end, size
                chosen[row, item] = (size - (end == total)) / size
    return _Places(ends, sizes, chosen)


def _offered(places: _Places) -> Floats:
    """Each choice's weights: 1 for what is worse than the best left, (m - l) / m for its ties."""
    choices = (places.ends > 0).sum(axis=1) - 1
    rows = np.repeat(np.arange(len(choices)), choices)
    taken = np.array([done for count in choices for done in range(count)]).reshape(-1, 1)
    weights: Floats = np.clip((places.ends[rows] - taken) / places.sizes[rows], 0.0, 1.0)
    return weights


def _agreement_p_value(orders: Sequence[Order], present: Floats, freedom: int) -> float:
    """The chance that random orders agree with each other at least this well.

    Each order gives its items Savage scores, whose covariance over all ways to permute them is
    known. What the sums of scores account for is set against what is left, in an F test as Iman
    and Davenport's. A few short orders agree by luck more often than F says: the chance that all
    do is the least p-value.
    """
    scores, spread = np.zeros_like(present), np.zeros(len(orders))
    for row, order in enumerate(orders):
        if len(order) > 1:  # an order that ties all says nothing about agreement
            savage = _savage_scores(tuple(map(len, order)))
            for tied, score in zip(order, savage, strict=True):
                scores[row, list(tied)] = score
            spread[row] = fsum(scores[row] ** 2) / (sum(map(len, order)) - 1)
    told = [order for order in orders if len(order) > 1]
    variation = sum(sum(map(len, order)) - 1 for order in told)
    if variation <= freedom:
        return 1.0
    linked = present.T @ (present * (spread / present.sum(axis=1))[:, None])
    covariance = np.diag(spread @ present) - linked
    total = np.sort(scores, axis=0).sum(axis=0)
    explained = round(float(total @ np.linalg.pinv(covariance, hermitian=True) @ total), 9)
    luck = lgamma(present.shape[1] + 1) - fsum(_log_ways(order) for order in told)
    least = exp(min(0.0, luck))
    if explained >= variation:
        return least
    ratio = (explained / freedom) / ((variation - explained) / (variation - freedom))
    return max(least, float(fdtrc(freedom, variation - freedom, ratio)))


@lru_cache(maxsize=1024)
def _savage_scores(sizes: tuple[int, ...]) -> list[float]:
    """For each tie class, the model's gradient for one of its items where all are equal."""
    total = sum(sizes)
    scores, better, expected = [], 0, 0.0
    for size in sizes:
        steps = range(min(size, total - 1 - better))
        inside = fsum((1 - step / size) / (total - better - step) for step in steps)
        scores.append(len(steps) / size - expected - inside)
        expected += fsum(1 / (total - better - step) for step in steps)
        better += size
    return scores


def _log_ways(order: Order) -> float:
    """The logarithm of the number of different ways to permute an order's items."""
    return lgamma(sum(map(len, order)) + 1) - fsum(lgamma(len(tied) + 1) for tied in order)
