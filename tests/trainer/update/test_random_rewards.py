"""Rewards that do not depend on the attempts must push the policy nowhere, on average."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from podium.answers import GroupReward, Ranking, TrajectoryResult, Usage
from podium_trainer.config import LossConfig
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Attempt, FinishReason, Sample
from podium_trainer.tasks.task import Prompt
from podium_trainer.update.advantages import ADVANTAGES
from podium_trainer.update.batch_loss import Tally
from podium_trainer.update.groups import RankedGroup, to_samples
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.mini_batch import build_mini_batch
from podium_trainer.update.update import accumulate
from tests.trainer.tiny import gradients
from tests.trainer.update.plain_update import MAX_TOKENS, double_policy, group_of_samples

REWARDS = (0.05, 0.4, 0.9)
ENDS: tuple[FinishReason, ...] = ("stop", "length", "stop")
PROMPT = Prompt("p", [{"role": "user", "content": "2 + 2 ="}])
LOSS_NAMES = sorted(name for name, loss in LOSSES.items() if not loss.needs_positive)
SCHEMES = sorted(name for name in ADVANTAGES if name != "best")


def ranked(samples: list[Sample], rewards: tuple[float, ...]) -> RankedGroup:
    """Make a group of one sample an attempt; the second attempt was cut off."""
    attempts = [
        Attempt(PROMPT.messages, [one], end, 1) for one, end in zip(samples, ENDS, strict=True)
    ]
    results = [TrajectoryResult(id=str(i), rank=1.0, reward=r) for i, r in enumerate(rewards)]
    ranking = Ranking(
        id="k", judge="j", method="m", passes=1, results=results, reliability=None, cached=False,
        usage=Usage(),
    )  # fmt: skip
    return RankedGroup(PROMPT, attempts, GroupReward(list(rewards), True, ranking))


def gradient(
    policy: Policy, groups: list[RankedGroup], name: str, scheme: str, mask_truncated: bool
) -> Tensor:
    """Return the whole gradient of the first step, on rewards as they come from the service."""
    policy.model.zero_grad(set_to_none=True)
    samples = to_samples(groups, scheme, mask_truncated=mask_truncated)
    part = build_mini_batch(samples, LOSSES[name].denominator, MAX_TOKENS)
    accumulate(policy, part, LossConfig.model_validate({"name": name}), 64, Tally())
    return torch.cat([each.flatten() for each in gradients(policy.model).values()])


@pytest.mark.parametrize(
    ("name", "scheme", "mask_truncated"),
    [
        *((name, "mean", False) for name in LOSS_NAMES),
        *(("dapo", scheme, True) for scheme in SCHEMES),
        ("gspo", "group_std", True),
    ],
)
def test_rewards_in_any_order_have_no_mean_gradient(
    name: str, scheme: str, mask_truncated: bool
) -> None:
    """Attempts differ in length, in their end and in their distance from the sampler."""
    policy = double_policy()
    samples = group_of_samples(policy.model)
    first, second = samples[1:4], samples[5:8]
    orders = list(permutations(REWARDS))
    every = [
        gradient(policy, [ranked(first, one), ranked(second, other)], name, scheme, mask_truncated)
        for one, other in zip(orders, reversed(orders), strict=True)
    ]
    mean = torch.stack(every).mean(0)
    sizes = [float(each.abs().max()) for each in every]
    assert min(sizes) > 1e-3
    assert float(mean.abs().max()) < 1e-6 * max(sizes)
