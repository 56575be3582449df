"""Judged pairs -> strengths, against hand-worked numbers, choix and evalica; choosing pairs."""

from collections import Counter
from itertools import combinations
from math import erfc, log, sqrt
from random import Random

import choix
import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import kendalltau

from podium_service.scoring.bradley_terry import choose_first_pairs, choose_next_pairs, fit_pairs

Pairs = list[tuple[int, int, float]]

outcomes = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])


@st.composite
def tournaments(draw: st.DrawFn) -> tuple[int, Pairs]:
    size = draw(st.integers(2, 6))
    pair = st.permutations(range(size)).map(lambda order: (order[0], order[1]))
    pairs = draw(st.lists(st.tuples(pair, outcomes), max_size=15))
    return size, [(i, j, p) for (i, j), p in pairs]


def tournament(size: int, games: int, seed: int) -> Pairs:
    """Coin-flip outcomes of random pairs, preceded by a cycle, so that all stay finite."""
    random = np.random.default_rng(seed)
    cycle = [(i, (i + 1) % size, 1.0) for i in range(size)]
    chosen = [random.permutation(size)[:2] for _ in range(games)]
    return cycle + [(int(i), int(j), float(random.random() < 0.6)) for i, j in chosen]


def test_two_items_by_hand() -> None:
    # Three wins and one loss: theta_0 = x, theta_1 = -x, and the posterior's slope in x is
    # 2 (3 - 4 s(2x)) - 2 x / sd^2 = 0 with s the logistic function.
    found = fit_pairs(2, [(0, 1, 1.0), (0, 1, 1.0), (1, 0, 0.0), (1, 0, 1.0)], prior_sd=2.0)
    x = brentq(lambda x: 3 - 4 / (1 + np.exp(-2 * x)) - x / 4, 0, 5)
    assert found.theta == pytest.approx([x, -x])
    share = 1 / (1 + np.exp(-2 * x))
    assert found.scores == pytest.approx([share, 1 - share])
    # In d = theta_0 - theta_1 the prior has variance 2 sd^2 = 8, the data information 4 s (1 - s).
    variance = 1 / (4 * share * (1 - share) + 1 / 8)
    assert found.covariance == pytest.approx(np.array([[1, -1], [-1, 1]]) * variance / 4)
    assert found.stderr == pytest.approx([share * (1 - share) * sqrt(variance)] * 2)
    gain = 2 * (3 * log(share) + log(1 - share) - 4 * log(0.5))
    assert found.likelihood_ratio == pytest.approx(gain)
    assert found.p_value == pytest.approx(erfc(sqrt(gain / 2)))  # chi-square with one degree


@pytest.mark.parametrize("seed", range(3))
def test_a_weak_prior_gives_the_maximum_likelihood_of_choix(seed: int) -> None:
    pairs = tournament(8, 60, seed)
    wins = [(i, j) if p else (j, i) for i, j, p in pairs]
    expected = choix.ilsr_pairwise(8, wins, tol=1e-12)
    assert fit_pairs(8, pairs, prior_sd=1e4).theta == pytest.approx(
        expected - expected.mean(), abs=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_prior_is_the_ridge_of_choix(seed: int) -> None:
    pairs = tournament(8, 20, seed)
    wins = [(i, j) if p else (j, i) for i, j, p in pairs]
    expected = choix.opt_pairwise(8, wins, alpha=1 / (2 * 1.5**2), tol=1e-10)
    assert fit_pairs(8, pairs, prior_sd=1.5).theta == pytest.approx(expected, abs=1e-6)


def test_ties_count_half_a_win_each_as_in_evalica() -> None:
    random = np.random.default_rng(7)
    drawn = [
        (i, j, float(p)) for i, j, _ in tournament(8, 60, 7) for p in random.choice([0, 0.5, 1], 1)
    ]
    pairs = tournament(8, 0, 7) + drawn
    winners = {0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw, 1.0: evalica.Winner.X}
    found = evalica.bradley_terry(
        [str(i) for i, _, _ in pairs],
        [str(j) for _, j, _ in pairs],
        [winners[p] for _, _, p in pairs],
        tie_weight=0.5,
        tolerance=1e-12,
        limit=10_000,
    )
    expected = np.log([found.scores[str(i)] for i in range(8)])
    theta = fit_pairs(8, pairs, prior_sd=1e4).theta
    assert theta == pytest.approx(expected - expected.mean(), abs=1e-5)


@given(tournaments(), st.randoms(use_true_random=False), st.booleans())
def test_relabelling_items_relabels_the_result(
    drawn: tuple[int, Pairs], random: Random, shuffled: bool
) -> None:
    size, pairs = drawn
    order = list(range(size))
    random.shuffle(order)
    renamed = [(order[i], order[j], p) for i, j, p in pairs]
    if shuffled:
        random.shuffle(renamed)
    before, after = fit_pairs(size, pairs), fit_pairs(size, renamed)
    assert [after.theta[order[i]] for i in range(size)] == pytest.approx(before.theta, abs=2e-12)
    assert [after.scores[order[i]] for i in range(size)] == pytest.approx(before.scores, abs=2e-12)
    assert [after.stderr[order[i]] for i in range(size)] == pytest.approx(before.stderr, abs=2e-12)
    assert after.p_value == pytest.approx(before.p_value, abs=1e-11)


def test_relabelling_a_real_tournament_changes_no_bit() -> None:
    random = np.random.default_rng(3)
    pairs = [(i, j, float(random.random())) for i, j in choose_first_pairs(24, 150, seed=1)]
    before = fit_pairs(24, pairs)
    for _ in range(20):
        order = [int(i) for i in random.permutation(24)]
        renamed = [(order[i], order[j], p) for i, j, p in pairs]
        after = fit_pairs(24, [renamed[k] for k in random.permutation(150)])
        assert [after.theta[order[i]] for i in range(24)] == before.theta
        assert [after.stderr[order[i]] for i in range(24)] == before.stderr
        assert after.p_value == before.p_value


@given(tournaments(), st.integers(0, 100))
def test_a_better_outcome_never_lowers_an_item(drawn: tuple[int, Pairs], which: int) -> None:
    size, pairs = drawn
    if not pairs:
        return
    i, j, p = pairs[which % len(pairs)]
    better = [*pairs]
    better[which % len(pairs)] = (i, j, (1 + p) / 2)
    before, after = fit_pairs(size, pairs), fit_pairs(size, better)
    assert after.theta[i] - after.theta[j] >= before.theta[i] - before.theta[j] - 1e-11
    assert after.scores[i] >= before.scores[i] - 1e-11


def test_all_ties_make_all_equal() -> None:
    found = fit_pairs(5, [(i, j, 0.5) for i, j in combinations(range(5), 2)])
    assert found.theta == [0.0] * 5
    assert found.scores == [0.5] * 5
    assert found.likelihood_ratio == 0
    assert found.p_value == 1


def test_no_comparisons_say_nothing() -> None:
    found = fit_pairs(3, [])
    assert found.scores == [0.5] * 3
    assert found.p_value == 1
    assert all(each > 0.2 for each in found.stderr)


def test_an_item_that_never_lost_stays_finite() -> None:
    found = fit_pairs(4, [(0, j, 1.0) for j in (1, 2, 3) for _ in range(50)])
    assert 2 < found.theta[0] < 10
    assert found.scores[0] < 1


def test_equal_items_seldom_look_different() -> None:
    random = np.random.default_rng(0)
    rounds = [choose_first_pairs(16, 60, seed) for seed in range(300)]
    values = [
        fit_pairs(16, [(i, j, float(random.random() < 0.5)) for i, j in r]).p_value for r in rounds
    ]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.09
    assert 0.4 < np.mean(np.array(values) < 0.5) < 0.65


@pytest.mark.parametrize("bad", [(0, 0, 0.5), (0, 3, 0.5), (-1, 0, 0.5), (0, 1, 1.1)])
def test_a_comparison_that_cannot_be_is_refused(bad: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="is not a comparison"):
        fit_pairs(3, [(0, 1, 0.5), bad])


def test_a_prior_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="prior_sd"):
        fit_pairs(2, [], prior_sd=0)


@given(st.integers(2, 20), st.integers(0, 100), st.integers(0, 9))
def test_a_first_round_is_spread_and_connected(size: int, count: int, seed: int) -> None:
    pairs = choose_first_pairs(size, count, seed)
    assert len(pairs) == count
    every = size * (size - 1) // 2
    undirected = [tuple(sorted(pair)) for pair in pairs]
    assert len(set(undirected)) == min(count, every)
    loads = Counter(i for pair in pairs[:every] for i in pair)
    assert max(loads.values(), default=0) - min(loads[i] for i in range(size)) <= 2
    reached = {0}
    for _ in range(size):
        reached |= {i for pair in pairs if reached & set(pair) for i in pair}
    if count >= size - 1:
        assert reached == set(range(size))
    assert pairs == choose_first_pairs(size, count, seed)


def test_one_item_makes_no_pair() -> None:
    with pytest.raises(ValueError, match="make no pair"):
        choose_first_pairs(1, 1, seed=0)


def test_the_next_pairs_are_near_each_other_and_not_yet_told_apart() -> None:
    # 0 beats 1 and 2 beats 3 for sure; both pairs have met so often that 1 against 2 is open.
    known = [(0, 1, 1.0)] * 10 + [(2, 3, 1.0)] * 10
    asked = Counter({(0, 1): 10, (2, 3): 10})
    chosen = choose_next_pairs(fit_pairs(4, known), asked, 2, seed=0)
    assert {frozenset(pair) for pair in chosen} == {frozenset({0, 2}), frozenset({1, 3})}


def test_a_batch_asks_no_item_too_often_and_turns_pairs_round() -> None:
    pairs = [(i, j, 0.5) for i, j in choose_first_pairs(16, 16, seed=0)]
    asked = Counter((i, j) for i, j, _ in pairs)
    chosen = choose_next_pairs(fit_pairs(16, pairs), asked, 16, seed=0)
    assert max(Counter(i for pair in chosen for i in pair).values()) <= 4
    assert chosen == choose_next_pairs(fit_pairs(16, pairs), asked, 16, seed=0)
    both = choose_next_pairs(fit_pairs(2, []), Counter({(0, 1): 1}), 3, seed=0)
    assert Counter(both)[1, 0] == 2


def test_adaptive_pairs_find_a_better_order_than_random_ones() -> None:
    adaptive, random = zip(*(_race(seed) for seed in range(200)), strict=True)
    gain = np.array(adaptive) - np.array(random)
    assert gain.mean() > 2 * gain.std() / sqrt(200)


def _race(seed: int) -> tuple[float, float]:
    """Kendall's tau of 40 comparisons of 16 items, adaptive and at random."""
    truth = np.random.default_rng(seed).normal(size=16)
    random = np.random.default_rng(1000 + seed)

    def judge(asked: list[tuple[int, int]]) -> Pairs:
        gaps = [truth[i] - truth[j] + random.normal() for i, j in asked]
        return [(i, j, 1 / (1 + np.exp(-1.7 * d))) for (i, j), d in zip(asked, gaps, strict=True)]

    every = list(combinations(range(16), 2))
    pairs = judge(choose_first_pairs(16, 16, seed))
    asked = Counter((i, j) for i, j, _ in pairs)
    for turn in range(3):
        chosen = choose_next_pairs(fit_pairs(16, pairs), asked, 8, seed=turn)
        asked.update(chosen)
        pairs += judge(chosen)
    blind = judge([every[k] for k in random.permutation(len(every))[:40]])
    found = [kendalltau(fit_pairs(16, each).theta, truth).statistic for each in (pairs, blind)]
    return float(found[0]), float(found[1])


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_evidence_adds_up_however_it_is_split(seed: int) -> None:
    pairs = tournament(5, 10, seed)
    doubled = [pair for pair in pairs for _ in range(2)]
    turned = [(j, i, 1 - p) for i, j, p in pairs]
    assert fit_pairs(5, pairs + turned).theta == pytest.approx(
        fit_pairs(5, doubled).theta, abs=1e-11
    )
