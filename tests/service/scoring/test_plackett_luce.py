"""Judged orders -> strengths, against hand-worked numbers, choix and Bradley-Terry."""

from itertools import permutations
from math import log
from random import Random

import choix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import fdtrc
from scipy.stats import friedmanchisquare

from podium_service.scoring import bradley_terry
from podium_service.scoring.plackett_luce import fit

Orders = list[list[list[int]]]


@st.composite
def judged(draw: st.DrawFn) -> tuple[int, Orders]:
    size = draw(st.integers(2, 6))
    orders: Orders = []
    for _ in range(draw(st.integers(0, 5))):
        order: list[list[int]] = []
        for item in draw(st.permutations(range(size)))[: draw(st.integers(1, size))]:
            tied: bool = draw(st.booleans())
            if order and tied:
                order[-1].append(item)
            else:
                order.append([item])
        orders.append(order)
    return size, orders


def strict_orders(size: int, length: int, count: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[int(i) for i in random.permutation(size)[:length]] for _ in range(count)]


def untied(orders: list[list[int]]) -> Orders:
    return [[[item] for item in order] for order in orders]


def test_three_items_by_hand() -> None:
    # Twice 0 > 1 > 2 with a flat prior has no maximum; with 2 > 0 > 1 and 1 > 2 > 0 all are equal.
    cycle = untied([[0, 1, 2], [2, 0, 1], [1, 2, 0]])
    assert fit(3, cycle).theta == [0.0] * 3
    found = fit(3, untied([[0, 1, 2], [0, 2, 1], [1, 0, 2]]), prior_sd=1e4)
    # By the MM equations: item 0 wins its choices 3 times, 1 twice, 2 once; all in 3 choices of
    # three and 0 1 2 in 1, 2 and 3 choices of two with each other.
    a, b, c = np.exp(found.theta)
    three = 3 / (a + b + c)
    assert three + 1 / (a + c) == pytest.approx(3 / a)
    assert three + 2 / (b + c) == pytest.approx(2 / b)
    assert three + 1 / (a + c) + 2 / (b + c) == pytest.approx(1 / c)


@pytest.mark.parametrize("seed", range(3))
def test_a_weak_prior_gives_the_maximum_likelihood_of_choix(seed: int) -> None:
    orders = strict_orders(8, 5, 30, seed)
    expected = choix.ilsr_rankings(8, [tuple(order) for order in orders], tol=1e-12)
    theta = fit(8, untied(orders), prior_sd=1e4).theta
    assert theta == pytest.approx(expected - expected.mean(), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_prior_is_the_ridge_of_choix(seed: int) -> None:
    orders = strict_orders(8, 4, 5, seed)
    expected = choix.opt_rankings(
        8, [tuple(order) for order in orders], alpha=1 / (2 * 1.5**2), tol=1e-10
    )
    assert fit(8, untied(orders), prior_sd=1.5).theta == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=8), st.integers(0, 9))
def test_orders_of_two_are_bradley_terry(outcomes: list[float], seed: int) -> None:
    orders = strict_orders(4, 2, len(outcomes), seed)
    chosen = [(i, j, p) for (i, j), p in zip(orders, outcomes, strict=True)]
    found = fit(
        4, [[[i, j]] if p == 0.5 else [[i], [j]] if p else [[j], [i]] for i, j, p in chosen]
    )
    expected = bradley_terry.fit(4, chosen)
    assert found.theta == pytest.approx(expected.theta, abs=1e-10)
    assert found.covariance == pytest.approx(expected.covariance, abs=1e-10)
    assert found.likelihood_ratio == pytest.approx(expected.likelihood_ratio, abs=1e-9)


def test_a_tie_is_near_the_mean_over_all_ways_to_break_it() -> None:
    orders = [[[0], [1, 2, 3], [4]], [[1], [0], [4, 3], [2]], [[2, 0], [3], [1, 4]]]
    found = fit(5, orders, prior_sd=1.0).theta

    def loss(theta: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        total = float(theta @ theta) / 2
        for order in orders:
            ways = _linearisations(order)
            total -= sum(_log_likelihood(theta, way) for way in ways) / len(ways)
        return total

    assert found == pytest.approx(minimize(loss, np.zeros(5)).x, abs=0.03)


def _linearisations(order: list[list[int]]) -> list[list[int]]:
    ways: list[list[int]] = [[]]
    for tied in order:
        ways = [way + list(more) for way in ways for more in permutations(tied)]
    return ways


def _log_likelihood(theta: np.ndarray[tuple[int], np.dtype[np.float64]], way: list[int]) -> float:
    strengths = np.exp(theta[way])
    return sum(log(strengths[k] / strengths[k:].sum()) for k in range(len(way)))


@given(judged(), st.randoms(use_true_random=False))
def test_relabelling_items_relabels_the_result(drawn: tuple[int, Orders], random: Random) -> None:
    size, orders = drawn
    names = list(range(size))
    random.shuffle(names)
    renamed = [[[names[i] for i in tied] for tied in order] for order in orders]
    random.shuffle(renamed)
    before, after = fit(size, orders), fit(size, renamed)
    assert [after.theta[names[i]] for i in range(size)] == pytest.approx(before.theta, abs=2e-12)
    assert [after.scores[names[i]] for i in range(size)] == pytest.approx(before.scores, abs=2e-12)
    assert [after.stderr[names[i]] for i in range(size)] == pytest.approx(before.stderr, abs=2e-12)
    assert after.p_value == pytest.approx(before.p_value, abs=1e-9)


@given(judged(), st.integers(0, 99))
def test_moving_an_item_up_never_lowers_it(drawn: tuple[int, Orders], which: int) -> None:
    size, orders = drawn
    if not orders:
        return
    order = orders[which % len(orders)]
    if len(order) < 2:
        return
    item = order[-1][0]
    rest = [[other for other in tied if other != item] for tied in order]
    better = [*orders]
    better[which % len(orders)] = [[item], *[tied for tied in rest if tied]]
    assert fit(size, better).scores[item] >= fit(size, orders).scores[item] - 1e-11


def test_all_ties_make_all_equal() -> None:
    found = fit(4, [[[0, 1, 2, 3]]] * 3)
    assert found.theta == [0.0] * 4
    assert found.p_value == 1


@pytest.mark.parametrize("orders", [[], [[]], [[[1]]]])
def test_orders_of_fewer_than_two_items_say_nothing(orders: Orders) -> None:
    found = fit(3, orders)
    assert found.scores == [0.5] * 3
    assert found.p_value == 1


def test_an_item_that_is_always_first_stays_finite() -> None:
    found = fit(3, untied([[0, 1, 2], [0, 2, 1]] * 50))
    assert 2 < found.theta[0] < 10


def test_one_order_alone_is_no_evidence_that_items_differ() -> None:
    assert fit(6, untied([[3, 1, 2, 0, 5, 4]])).p_value == 1


def test_two_equal_orders_of_three_may_be_luck() -> None:
    assert fit(3, untied([[2, 0, 1], [2, 0, 1]])).p_value == pytest.approx(1 / 6)


def test_orders_that_agree_are_evidence() -> None:
    assert fit(6, untied([[3, 1, 2, 0, 5, 4]] * 4)).p_value < 1e-6


def test_with_two_kinds_of_place_the_test_is_friedmans() -> None:
    # With one winner and all others tied any scores are the ranks, up to origin and unit.
    winners = [0, 0, 0, 1, 0, 2]
    orders = [[[w], [i for i in range(4) if i != w]] for w in winners]
    ranks = [[1.0 if i == w else 3.0 for i in range(4)] for w in winners]
    chi_square = friedmanchisquare(*np.array(ranks).T).statistic
    blocks, size = len(winners), 4
    ratio = (blocks - 1) * chi_square / (blocks * (size - 1) - chi_square)
    assert fit(4, orders).p_value == pytest.approx(fdtrc(3, 15, ratio))


def test_equal_items_seldom_look_different() -> None:
    values = [fit(8, untied(strict_orders(8, 8, 4, seed))).p_value for seed in range(300)]
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.09
    assert 0.4 < np.mean(np.array(values) < 0.5) < 0.6


@pytest.mark.parametrize("order", [[[0], [0]], [[0, 3]], [[-1], [0]]])
def test_an_order_that_cannot_be_is_refused(order: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="is not an order"):
        fit(3, [order])
