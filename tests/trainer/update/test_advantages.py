"""Advantages against numbers worked out by hand, and properties for any rewards."""

from itertools import pairwise
from math import inf, nan, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from podium_trainer.update.advantages import ADVANTAGES, STD_FLOOR, has_signal

BASELINES = ["mean", "group_std", "batch_std", "leave_one_out"]


def groups(*rewards: list[float]) -> list[Tensor]:
    return [torch.tensor(group) for group in rewards]


def advantages(name: str, *rewards: list[float]) -> list[list[float]]:
    return [group.tolist() for group in ADVANTAGES[name](groups(*rewards))]


def approx(*rows: list[float]) -> list[Any]:
    return [pytest.approx(row, rel=1e-5, abs=1e-6) for row in rows]


FIRST, SECOND = [1.0, 0.0, 0.5], [0.2, 0.4]  # centered, they are .5 -.5 0 and -.1 .1


def test_mean_subtracts_the_group_mean_and_keeps_the_spread() -> None:
    assert advantages("mean", FIRST, SECOND) == approx([0.5, -0.5, 0], [-0.1, 0.1])


def test_group_std_divides_by_the_groups_standard_deviation() -> None:
    # The squares .25 .25 0 have the std sqrt(1/6), and .01 .01 the std .1.
    assert advantages("group_std", FIRST, SECOND) == approx(
        [0.5 * sqrt(6), -0.5 * sqrt(6), 0], [-1, 1]
    )


def test_group_std_has_a_floor_for_groups_that_nearly_tie() -> None:
    assert STD_FLOOR == 1e-3
    [near] = advantages("group_std", [0.5, 0.5002])  # the std is .0001, far below the floor
    assert near == pytest.approx([-0.1, 0.1], rel=1e-2)
    [clear] = advantages("group_std", [0.4, 0.6])
    assert clear == pytest.approx([-1, 1])


def test_batch_std_divides_all_by_one_standard_deviation() -> None:
    # The squares of all five, .25 .25 0 .01 .01, have the mean .104.
    std = sqrt(0.104)
    assert advantages("batch_std", FIRST, SECOND) == approx(
        [0.5 / std, -0.5 / std, 0], [-0.1 / std, 0.1 / std]
    )
    [near] = advantages("batch_std", [0.5, 0.5002])
    assert near == pytest.approx([-0.1, 0.1], rel=1e-2)


def test_leave_one_out_subtracts_the_mean_of_the_others() -> None:
    # That is 1 - .25, 0 - .75 and .5 - .5 in one group, .2 - .4 and .4 - .2 in the other.
    assert advantages("leave_one_out", FIRST, SECOND) == approx([0.75, -0.75, 0], [-0.2, 0.2])


def test_best_gives_1_to_the_best_and_splits_it_among_ties() -> None:
    assert advantages("best", FIRST, SECOND, [0.7, 0.1, 0.7]) == [[1, 0, 0], [0, 1], [0.5, 0, 0.5]]


REWARDS = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12)


@pytest.mark.parametrize("name", BASELINES)
@given(rewards=st.lists(REWARDS, min_size=1, max_size=4))
@settings(deadline=None)
def test_advantages_sum_to_zero_in_a_group_and_keep_the_order(
    name: str, rewards: list[list[float]]
) -> None:
    computed = ADVANTAGES[name](groups(*rewards))
    for group, advantages_G in zip(rewards, computed, strict=True):
        scale = max(1.0, float(advantages_G.abs().max()))
        assert abs(float(advantages_G.double().sum())) < 1e-4 * scale
        ranked = sorted(range(len(group)), key=group.__getitem__)
        assert all(advantages_G[a] <= advantages_G[b] for a, b in pairwise(ranked))


@pytest.mark.parametrize("name", BASELINES)
@given(reward=st.floats(0, 1), size=st.integers(2, 64))
@settings(deadline=None)
def test_ties_give_advantages_of_exactly_zero(name: str, reward: float, size: int) -> None:
    [advantages_G] = ADVANTAGES[name](groups([reward] * size))
    assert advantages_G.tolist() == [0] * size
    assert not has_signal(torch.tensor([reward] * size))


@pytest.mark.parametrize("name", ["mean", "leave_one_out", "group_std", "best"])
@given(rewards=st.lists(REWARDS, min_size=2, max_size=4))
@settings(deadline=None)
def test_a_groups_advantages_do_not_depend_on_other_groups(
    name: str, rewards: list[list[float]]
) -> None:
    together = ADVANTAGES[name](groups(*rewards))
    alone = [ADVANTAGES[name](groups(group))[0] for group in rewards]
    assert all(map(torch.equal, together, alone))


@given(rewards=REWARDS, shift=st.floats(-1, 1, width=16))
@settings(deadline=None)
def test_a_constant_added_to_all_rewards_changes_nothing(
    rewards: list[float], shift: float
) -> None:
    [plain] = advantages("mean", rewards)
    [shifted] = advantages("mean", [reward + shift for reward in rewards])
    assert shifted == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("bad", [[], [0.5], [0.5, nan], [inf, 0.5], [-inf, inf]], ids=str)
def test_fewer_than_two_or_not_finite_rewards_are_refused(name: str, bad: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two finite rewards, not "):
        ADVANTAGES[name](groups([0.1, 0.2], bad))


@pytest.mark.parametrize("name", ADVANTAGES)
def test_a_table_of_rewards_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least two finite rewards"):
        ADVANTAGES[name]([torch.ones(2, 3)])


@pytest.mark.parametrize("name", ADVANTAGES)
def test_no_groups_make_no_advantages(name: str) -> None:
    assert ADVANTAGES[name]([]) == []


def test_signal_is_any_difference_at_all() -> None:
    assert has_signal(torch.tensor([0.5, 0.5, 0.5000001]))
    assert not has_signal(torch.tensor([0.3, 0.3]))
