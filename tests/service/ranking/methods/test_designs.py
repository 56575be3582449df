"""Designs are balanced, link all trajectories, and are the same on a retry."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podium_service.ranking.methods.designs import (
    balanced_orders,
    count_linking_blocks,
    incomplete_blocks,
    links_all,
)

ITEMS = st.integers(2, 16)
PASSES = st.integers(1, 40)
SEEDS = st.integers(0, 2**64 - 1)


@given(ITEMS, PASSES, SEEDS)
def test_every_pass_shows_every_trajectory_once(num_items: int, passes: int, seed: int) -> None:
    orders = balanced_orders(num_items, passes, seed)
    assert len(orders) == passes
    assert all(sorted(order) == list(range(num_items)) for order in orders)


@given(ITEMS, PASSES, SEEDS)
@example(2, 40, 0)
def test_every_second_pass_is_the_reverse_of_the_first(
    num_items: int, passes: int, seed: int
) -> None:
    orders = balanced_orders(num_items, passes, seed)
    for order, reverse in zip(orders[::2], orders[1::2], strict=False):
        assert reverse == order[::-1]


@given(ITEMS, st.integers(1, 20), SEEDS)
def test_a_pair_of_passes_balances_the_slots(num_items: int, pairs: int, seed: int) -> None:
    orders = balanced_orders(num_items, 2 * pairs, seed)
    for first, second in zip(orders[::2], orders[1::2], strict=True):
        slots = {first.index(item) + second.index(item) for item in range(num_items)}
        assert slots == {num_items - 1}


@given(ITEMS, PASSES, SEEDS)
def test_the_same_seed_gives_the_same_design(num_items: int, passes: int, seed: int) -> None:
    assert balanced_orders(num_items, passes, seed) == balanced_orders(num_items, passes, seed)


def test_seeds_give_different_designs() -> None:
    designs = {str(balanced_orders(8, 4, seed)) for seed in range(20)}
    assert len(designs) == 20


@given(st.integers(3, 16), st.data(), SEEDS)
def test_no_order_comes_twice_within_one_pair_per_trajectory(
    num_items: int, data: st.DataObject, seed: int
) -> None:
    pairs = data.draw(st.integers(1, num_items))
    orders = balanced_orders(num_items, 2 * pairs, seed)
    assert len(set(map(tuple, orders))) == 2 * pairs


@pytest.mark.parametrize("num_items", [2, 3, 5, 8])
def test_a_pair_per_trajectory_fills_every_slot_twice(num_items: int) -> None:
    orders = balanced_orders(num_items, 2 * num_items, seed=7)
    seen = Counter((slot, item) for order in orders for slot, item in enumerate(order))
    assert set(seen.values()) == {2}
    assert len(seen) == num_items**2


def test_two_pairs_start_half_a_group_apart() -> None:
    first, _, second, _ = balanced_orders(8, 4, seed=1)
    assert second == first[4:] + first[:4]


def test_an_odd_last_pass_has_no_reverse() -> None:
    assert len(balanced_orders(4, 1, seed=3)) == 1
    first, reverse, third = balanced_orders(4, 3, seed=3)
    assert reverse == first[::-1]
    assert third not in (first, reverse)


def test_more_pairs_than_trajectories_start_from_a_new_order() -> None:
    orders = balanced_orders(4, 2 * 4 + 2, seed=5)
    base, fresh = orders[0], orders[8]
    rotations = [base[shift:] + base[:shift] for shift in range(4)]
    assert orders[0:8:2] == rotations
    assert fresh not in rotations


BLOCKS = st.integers(4, 40).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(2, min(8, n - 1)), st.integers(1, 60))
)


@given(BLOCKS, SEEDS)
def test_the_counted_blocks_link_all_and_one_less_does_not(
    case: tuple[int, int, int], seed: int
) -> None:
    num_items, size, count = case
    blocks = incomplete_blocks(num_items, size, count, seed)
    if not links_all(num_items, blocks):
        with pytest.raises(ValueError, match="do not link"):
            count_linking_blocks(num_items, blocks)
        return
    enough = count_linking_blocks(num_items, blocks)
    assert links_all(num_items, blocks[:enough])
    assert not links_all(num_items, blocks[: enough - 1])
    assert enough >= (num_items - 1) / (size - 1)


@given(BLOCKS, SEEDS)
def test_more_blocks_leave_the_first_ones_unchanged(case: tuple[int, int, int], seed: int) -> None:
    num_items, size, count = case
    blocks = incomplete_blocks(num_items, size, count, seed)
    assert incomplete_blocks(num_items, size, count + 7, seed)[:count] == blocks


def test_a_trajectory_that_stood_late_stands_early_next() -> None:
    first, second = incomplete_blocks(5, 4, 2, seed=3)
    shared = [item for item in second if item in first]
    assert shared == sorted(shared, key=lambda item: -first.index(item))


def test_lists_of_one_link_all_once_each_was_shown() -> None:
    assert links_all(3, [[0], [2], [1], [0]])
    assert not links_all(3, [[0], [2], [0]])
