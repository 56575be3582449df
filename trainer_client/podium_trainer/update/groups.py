"""Attempts ↔ the reward service: what is asked, and what the answers make of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from podium.types import GroupReward, Trajectory, TrajectoryGroup
from podium_trainer.policy.samples import Attempt, Sample
from podium_trainer.tasks.task import Prompt
from podium_trainer.update.advantages import ADVANTAGES, has_signal


@dataclass(frozen=True)
class RankedGroup:
    """One prompt's attempts and the service's answer."""

    prompt: Prompt
    attempts: list[Attempt]
    answer: GroupReward

    @property
    def failed(self) -> bool:
        return not self.answer.mask

    @property
    def rewards(self) -> list[float]:
        """One per attempt; only for a group that was ranked."""
        assert self.answer.rewards is not None
        return self.answer.rewards

    @property
    def has_signal(self) -> bool:
        return not self.failed and has_signal(torch.tensor(self.rewards))


def to_wire(
    prompt: Prompt,
    attempts: Sequence[Attempt],
    *,
    step: int,
    judge: str | None,
    rubric: str | None,
    tools: Sequence[Mapping[str, Any]],
    run: str,
) -> TrajectoryGroup:
    """The group as the service gets it: messages and finish reasons, no tokens."""
    return TrajectoryGroup(
        [
            Trajectory(str(number), attempt.messages, finish_reason=attempt.finish_reason)
            for number, attempt in enumerate(attempts)
        ],
        group_id=f"step-{step}/{prompt.id}",
        judge=judge,
        task=prompt.task,
        reference=prompt.reference,
        rubric=rubric,
        tools=tools or None,
        metadata={"run": run, "step": step},
    )


def to_samples(
    groups: Sequence[RankedGroup], advantages: str, *, mask_truncated: bool
) -> list[Sample]:
    """The samples of ranked groups with their advantages.

    Every token that was sampled gets its trajectory's advantage. With `mask_truncated` an attempt
    that was cut off counts for its group's baseline but is not trained on.

    Args:
        groups: ranked ones only.
        advantages: a name in ADVANTAGES.
    """
    rewards = [torch.tensor(group.rewards) for group in groups]
    samples = []
    for group, advantages_G in zip(groups, ADVANTAGES[advantages](rewards), strict=True):
        for attempt, advantage in zip(group.attempts, advantages_G.tolist(), strict=True):
            if mask_truncated and attempt.finish_reason == "length":
                continue
            samples += [with_advantage(sample, advantage) for sample in attempt.samples]
    return [sample for sample in samples if sample.num_loss_tokens]


def with_advantage(sample: Sample, advantage: float) -> Sample:
    return replace(
        sample, advantages=[advantage if trained else 0.0 for trained in sample.loss_mask]
    )
