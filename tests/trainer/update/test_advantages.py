"""Advantages worked out by hand, and what holds for any rewards."""

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


FIRST, SECOND = [1.0, 0.0, 0.5], [0.2, 0.4]  # centred: .5 -.5 0 and -.1 .1


def test_mean_takes_the_groups_mean_off_and_leaves_its_spread() -> None:
    assert advantages("mean", FIRST, SECOND) == approx([0.5, -0.5, 0], [-0.1, 0.1])


def test_group_std_divides_by_each_groups_own_standard_deviation() -> None:
    # Squares .25 .25 0: std sqrt(1/6). Squares .01 .01: std .1.
    assert advantages("group_std", FIRST, SECOND) == approx(
        [0.5 * sqrt(6), -0.5 * sqrt(6), 0], [-1, 1]
    )


def test_group_std_has_a_floor_so_that_near_ties_do_not_push_like_clear_winners() -> None:
    assert STD_FLOOR == 1e-3
    [near] = advantages("group_std", [0.5, 0.5002])  # centred .0001, far below the floor
    assert near == pytest.approx([-0.1, 0.1], rel=1e-2)
    [clear] = advantages("group_std", [0.4, 0.6])
    assert clear == pytest.approx([-1, 1])


def test_batch_std_divides_all_by_one_standard_deviation() -> None:
    # Squares over all five: .25 .25 0 .01 .01, mean .104.
    std = sqrt(0.104)
    assert advantages("batch_std", FIRST, SECOND) == approx(
        [0.5 / std, -0.5 / std, 0], [-0.1 / std, 0.1 / std]
    )
    [near] = advantages("batch_std", [0.5, 0.5002])
    assert near == pytest.approx([-0.1, 0.1], rel=1e-2)


def test_leave_one_out_takes_off_the_mean_of_the_others() -> None:
    # 1 - .25, 0 - .75, .5 - .5; .2 - .4, .4 - .2.
    assert advantages("leave_one_out", FIRST, SECOND) == approx([0.75, -0.75, 0], [-0.2, 0.2])


def test_best_gives_one_to_the_best_and_shares_it_out_among_several() -> None:
    assert advantages("best", FIRST, SECOND, [0.7, 0.1, 0.7]) == [[1, 0, 0], [0, 1], [0.5, 0, 0.5]]


REWARDS = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12)


@pytest.mark.parametrize("name", BASELINES)
@given(rewards=st.lists(REWARDS, min_size=1, max_size=4))
@settings(deadline=None)
def test_advantages_sum_to_zero_in_every_group_and_keep_the_order(
    name: str, rewards: list[list[float]]
) -> None:
    found = ADVANTAGES[name](groups(*rewards))
    for group, advantages_G in zip(rewards, found, strict=True):
        scale = max(1.0, float(advantages_G.abs().max()))
        assert abs(float(advantages_G.double().sum())) < 1e-4 * scale
        ranked = sorted(range(len(group)), key=group.__getitem__)
        assert all(advantages_G[a] <= advantages_G[b] for a, b in pairwise(ranked))


@pytest.mark.parametrize("name", BASELINES)
@given(reward=st.floats(0, 1), size=st.integers(2, 64))
@settings(deadline=None)
def test_ties_leave_exactly_nothing(name: str, reward: float, size: int) -> None:
    [advantages_G] = ADVANTAGES[name](groups([reward] * size))
    assert advantages_G.tolist() == [0] * size
    assert not has_signal(torch.tensor([reward] * size))


@pytest.mark.parametrize("name", ["mean", "leave_one_out", "group_std", "best"])
@given(rewards=st.lists(REWARDS, min_size=2, max_size=4))
@settings(deadline=None)
def test_a_group_is_not_touched_by_the_others(name: str, rewards: list[list[float]]) -> None:
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
