"""Strengths fitted to judged pairs, against numbers by hand, choix and evalica."""

from itertools import combinations
from math import erfc, log, sqrt
from random import Random

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from podium_service.scoring.bradley_terry import fit_pairs
from podium_service.scoring.pair_design import choose_first_pairs

Pairs = list[tuple[int, int, float]]

outcomes = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0])


@st.composite
def tournaments(draw: st.DrawFn) -> tuple[int, Pairs]:
    size = draw(st.integers(2, 6))
    pair = st.permutations(range(size)).map(lambda order: (order[0], order[1]))
    pairs = draw(st.lists(st.tuples(pair, outcomes), max_size=15))
    return size, [(i, j, p) for (i, j), p in pairs]


def tournament(size: int, games: int, seed: int) -> Pairs:
    """Return coin-flip outcomes of random pairs, preceded by a cycle, so that all stay finite."""
    random = np.random.default_rng(seed)
    cycle = [(i, (i + 1) % size, 1.0) for i in range(size)]
    chosen = [random.permutation(size)[:2] for _ in range(games)]
    return cycle + [(int(i), int(j), float(random.random() < 0.6)) for i, j in chosen]


def test_two_items_equal_a_fit_by_hand() -> None:
    # Three wins and one loss: theta_0 = x, theta_1 = -x, and the posterior's slope in x is
    # 2 (3 - 4 s(2x)) - 2 x / sd^2 = 0 with s the logistic function.
    result = fit_pairs(2, [(0, 1, 1.0), (0, 1, 1.0), (1, 0, 0.0), (1, 0, 1.0)], prior_sd=2.0)
    x = brentq(lambda x: 3 - 4 / (1 + np.exp(-2 * x)) - x / 4, 0, 5)
    assert result.theta == pytest.approx([x, -x])
    share = 1 / (1 + np.exp(-2 * x))
    assert result.scores == pytest.approx([share, 1 - share])
    # In d = theta_0 - theta_1 the prior has variance 2 sd^2 = 8, the data information 4 s (1 - s).
    variance = 1 / (4 * share * (1 - share) + 1 / 8)
    assert result.covariance == pytest.approx(np.array([[1, -1], [-1, 1]]) * variance / 4)
    assert result.stderr == pytest.approx([share * (1 - share) * sqrt(variance)] * 2)
    gain = 2 * (3 * log(share) + log(1 - share) - 4 * log(0.5))
    assert result.likelihood_ratio == pytest.approx(gain)
    assert result.p_value == pytest.approx(erfc(sqrt(gain / 2)))  # chi-square with one degree


@pytest.mark.parametrize("seed", range(3))
def test_a_weak_prior_gives_the_maximum_likelihood_of_choix(seed: int) -> None:
    pairs = tournament(8, 60, seed)
    wins = [(i, j) if p else (j, i) for i, j, p in pairs]
    expected = choix.ilsr_pairwise(8, wins, tol=1e-12)
    assert fit_pairs(8, pairs, prior_sd=1e4).theta == pytest.approx(
        expected - expected.mean(), abs=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_prior_equals_the_ridge_of_choix(seed: int) -> None:
    pairs = tournament(8, 20, seed)
    wins = [(i, j) if p else (j, i) for i, j, p in pairs]
    expected = choix.opt_pairwise(8, wins, alpha=1 / (2 * 1.5**2), tol=1e-10)
    assert fit_pairs(8, pairs, prior_sd=1.5).theta == pytest.approx(expected, abs=1e-6)


def test_ties_count_half_a_win_each_as_in_evalica() -> None:
    import evalica  # only here, because it loads pandas

    random = np.random.default_rng(7)
    drawn = [
        (i, j, float(p)) for i, j, _ in tournament(8, 60, 7) for p in random.choice([0, 0.5, 1], 1)
    ]
    pairs = tournament(8, 0, 7) + drawn
    winners = {0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw, 1.0: evalica.Winner.X}
    result = evalica.bradley_terry(
        [str(i) for i, _, _ in pairs],
        [str(j) for _, j, _ in pairs],
        [winners[p] for _, _, p in pairs],
        tie_weight=0.5,
        tolerance=1e-12,
        limit=10_000,
    )
    expected = np.log([result.scores[str(i)] for i in range(8)])
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


def test_ties_of_all_pairs_make_all_items_equal() -> None:
    result = fit_pairs(5, [(i, j, 0.5) for i, j in combinations(range(5), 2)])
    assert result.theta == [0.0] * 5
    assert result.scores == [0.5] * 5
    assert result.likelihood_ratio == 0
    assert result.p_value == 1


def test_without_comparisons_all_scores_are_a_half() -> None:
    result = fit_pairs(3, [])
    assert result.scores == [0.5] * 3
    assert result.p_value == 1
    assert all(each > 0.2 for each in result.stderr)


def test_an_item_that_never_lost_stays_finite() -> None:
    result = fit_pairs(4, [(0, j, 1.0) for j in (1, 2, 3) for _ in range(50)])
    assert 2 < result.theta[0] < 10
    assert result.scores[0] < 1


def test_equal_items_are_seldom_significant() -> None:
    random = np.random.default_rng(0)
    rounds = [choose_first_pairs(16, 60, seed) for seed in range(300)]
    values = [
        fit_pairs(16, [(i, j, float(random.random() < 0.5)) for i, j in r]).p_value for r in rounds
    ]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.09
    assert 0.4 < np.mean(np.array(values) < 0.5) < 0.65


@pytest.mark.parametrize("bad", [(0, 0, 0.5), (0, 3, 0.5), (-1, 0, 0.5), (0, 1, 1.1)])
def test_an_invalid_comparison_is_an_error(bad: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="is not a comparison"):
        fit_pairs(3, [(0, 1, 0.5), bad])


def test_a_prior_without_width_is_an_error() -> None:
    with pytest.raises(ValueError, match="prior_sd"):
        fit_pairs(2, [], prior_sd=0)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_turned_pairs_count_like_repeated_pairs(seed: int) -> None:
    pairs = tournament(5, 10, seed)
    doubled = [pair for pair in pairs for _ in range(2)]
    turned = [(j, i, 1 - p) for i, j, p in pairs]
    assert fit_pairs(5, pairs + turned).theta == pytest.approx(
        fit_pairs(5, doubled).theta, abs=1e-11
    )
