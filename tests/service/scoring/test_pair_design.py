"""Choosing pairs to compare: spread, linked, and better than at random."""

from collections import Counter
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from podium_service.scoring.bradley_terry import fit_pairs
from podium_service.scoring.pair_design import Pair, choose_first_pairs, choose_next_pairs


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


def test_the_next_pairs_are_close_and_not_yet_separated() -> None:
    # 0 beats 1 and 2 beats 3 for sure, and both pairs have met so often that others teach more.
    known = [(0, 1, 1.0)] * 10 + [(2, 3, 1.0)] * 10
    asked = Counter({(0, 1): 10, (2, 3): 10})
    chosen = choose_next_pairs(fit_pairs(4, known), asked, 2, seed=0)
    assert {frozenset(pair) for pair in chosen} == {frozenset({0, 2}), frozenset({1, 3})}


def test_a_batch_is_spread_and_turns_pairs_round() -> None:
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
    """Return Kendall's tau of 40 comparisons of 16 items, adaptive and at random."""
    truth = np.random.default_rng(seed).normal(size=16)
    random = np.random.default_rng(1000 + seed)

    def compare(asked: list[Pair]) -> list[tuple[int, int, float]]:
        gaps = [truth[i] - truth[j] + random.normal() for i, j in asked]
        return [(i, j, 1 / (1 + np.exp(-1.7 * d))) for (i, j), d in zip(asked, gaps, strict=True)]

    every = list(combinations(range(16), 2))
    pairs = compare(choose_first_pairs(16, 16, seed))
    asked = Counter((i, j) for i, j, _ in pairs)
    for turn in range(3):
        chosen = choose_next_pairs(fit_pairs(16, pairs), asked, 8, seed=turn)
        asked.update(chosen)
        pairs += compare(chosen)
    blind = compare([every[k] for k in random.permutation(len(every))[:40]])
    result = [kendalltau(fit_pairs(16, each).theta, truth).statistic for each in (pairs, blind)]
    return float(result[0]), float(result[1])
