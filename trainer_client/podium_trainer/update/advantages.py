"""Compute advantages from the rewards of groups.

A scheme takes the rewards of all groups of one step, float tensors of shape (G,), and returns as
many float32 tensors of the same shapes. Rewards are in [0, 1] without unit.

To add a scheme:

1. Write such a function, with the paper of its formula. Pass rewards through `check_rewards`.
2. Put it into ADVANTAGES, and its name into `config.AdvantageName`.
3. Add its name to the properties in tests/trainer/update/test_advantages.py, and numbers worked
   out by hand.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STD_FLOOR = 1e-3

AdvantageScheme = Callable[[Sequence[Tensor]], list[Tensor]]


def subtract_mean(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Center each group's rewards on the group mean.

    The group's standard deviation is left alone: dividing by it makes a group whose members nearly
    tie push as hard as one with a clear winner. In float64 the mean of equal float32 rewards is
    exact, so that ties leave exactly 0.

    Raises:
        ValueError: As `check_rewards`.

    Source:
        Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).
    """
    exact = [check_rewards(rewards_G).double() for rewards_G in rewards]
    return [(rewards_G - rewards_G.mean()).float() for rewards_G in exact]


def divide_by_group_std(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Center each group, then divide by its standard deviation, at least STD_FLOOR.

    Raises:
        ValueError: As `check_rewards`.

    Source:
        Shao et al. 2024, arXiv:2402.03300 (GRPO as first published).
    """
    return [
        centered_G / centered_G.square().mean().sqrt().clamp(min=STD_FLOOR)
        for centered_G in subtract_mean(rewards)
    ]


def divide_by_batch_std(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Center each group, then divide by the standard deviation of the batch, at least STD_FLOOR.

    Raises:
        ValueError: As `check_rewards`.

    Source:
        Hu et al. 2025, arXiv:2501.03262 (REINFORCE++ with a group baseline).
    """
    centered = subtract_mean(rewards)
    if not centered:
        return []
    std = torch.cat(centered).square().mean().sqrt().clamp(min=STD_FLOOR)
    return [centered_G / std for centered_G in centered]


def leave_one_out(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Subtract the mean of the other members, which is G / (G - 1) times the centered reward.

    Raises:
        ValueError: As `check_rewards`.

    Source:
        Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).
    """
    return [
        centered_G * len(centered_G) / (len(centered_G) - 1)
        for centered_G in subtract_mean(rewards)
    ]


def select_best(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Give 1 to the best member of each group, split evenly among ties, and 0 to the others.

    The loss `rft` uses it. It is no baseline: the advantages of a group sum to 1.

    Raises:
        ValueError: As `check_rewards`.
    """
    best = [(rewards_G == rewards_G.max()).float() for rewards_G in map(check_rewards, rewards)]
    return [best_G / best_G.sum() for best_G in best]


ADVANTAGES: dict[str, AdvantageScheme] = {
    "mean": subtract_mean,
    "group_std": divide_by_group_std,
    "batch_std": divide_by_batch_std,
    "leave_one_out": leave_one_out,
    "best": select_best,
}


def check_rewards(rewards_G: Tensor) -> Tensor:
    """Return a group's rewards if they are fit for a baseline.

    Raises:
        ValueError: If they are not one-dimensional, fewer than two, or not finite.
    """
    if rewards_G.ndim != 1 or len(rewards_G) < 2 or not rewards_G.isfinite().all():
        raise ValueError(f"a group needs at least two finite rewards, not {rewards_G.tolist()}")
    return rewards_G


def has_signal(rewards_G: Tensor) -> bool:
    """Return whether any two members' rewards differ; without that every advantage is 0."""
    return bool((rewards_G != rewards_G[0]).any())
