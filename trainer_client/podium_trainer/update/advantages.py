"""Rewards of groups → advantages.

Every scheme takes the rewards of all groups of one step and returns as many tensors of the same
shapes. To add one: write such a function and put it in ADVANTAGES.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STD_FLOOR = 1e-3

Advantages = Callable[[Sequence[Tensor]], list[Tensor]]


def mean_centred(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Centre each group's rewards (G,) on the group mean.

    The group's standard deviation is left alone: dividing by it makes a group whose members nearly
    tie push as hard as one with a clear winner. In float64 the mean of equal float32 rewards is
    exact, so that ties leave exactly 0.

    Source:
        Liu et al. 2025, arXiv:2503.20783.
    """
    exact = [checked(rewards_G).double() for rewards_G in rewards]
    return [(rewards_G - rewards_G.mean()).float() for rewards_G in exact]


def group_std(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Centre, then divide by the group's standard deviation, at least STD_FLOOR.

    Source:
        Shao et al. 2024, arXiv:2402.03300 (GRPO as first published).
    """
    return [
        centred_G / centred_G.square().mean().sqrt().clamp(min=STD_FLOOR)
        for centred_G in mean_centred(rewards)
    ]


def batch_std(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Centre on each group, then divide by the standard deviation of the whole batch.

    Source:
        Hu et al. 2025, arXiv:2501.03262 (REINFORCE++ with a group baseline).
    """
    centred = mean_centred(rewards)
    if not centred:
        return []
    std = torch.cat(centred).square().mean().sqrt().clamp(min=STD_FLOOR)
    return [centred_G / std for centred_G in centred]


def leave_one_out(rewards: Sequence[Tensor]) -> list[Tensor]:
    """Reward minus the mean of the others: G / (G - 1) times the centred reward.

    Source:
        Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).
    """
    return [
        centred_G * len(centred_G) / (len(centred_G) - 1) for centred_G in mean_centred(rewards)
    ]


def best_of_group(rewards: Sequence[Tensor]) -> list[Tensor]:
    """1 for the best of each group, shared out where several tie; 0 for the others. For `rft`."""
    best = [(rewards_G == rewards_G.max()).float() for rewards_G in map(checked, rewards)]
    return [best_G / best_G.sum() for best_G in best]


ADVANTAGES: dict[str, Advantages] = {
    "mean": mean_centred,
    "group_std": group_std,
    "batch_std": batch_std,
    "leave_one_out": leave_one_out,
    "best": best_of_group,
}


def checked(rewards_G: Tensor) -> Tensor:
    """A group's rewards, fit for a baseline.

    Raises:
        ValueError: If they are not one-dimensional, fewer than two, or not finite.
    """
    if rewards_G.ndim != 1 or len(rewards_G) < 2 or not rewards_G.isfinite().all():
        raise ValueError(f"a group needs at least two finite rewards, not {rewards_G.tolist()}")
    return rewards_G


def has_signal(rewards_G: Tensor) -> bool:
    """Whether any member differs from the others: without it every advantage is 0."""
    return bool((rewards_G != rewards_G[0]).any())
