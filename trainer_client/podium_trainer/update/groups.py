"""Write groups of attempts for the reward service, and turn its rewards into samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from podium.answers import GroupReward
from podium.groups import Trajectory, TrajectoryGroup
from podium_trainer.policy.samples import Attempt, Sample
from podium_trainer.tasks.task import MAX_GROUP_ID_CHARS, Prompt
from podium_trainer.update.advantages import ADVANTAGES, has_signal
from podium_trainer.update.mini_batch import GroupSamples


@dataclass(frozen=True)
class RankedGroup:
    """One prompt's attempts and the service's answer.

    Attributes:
        prompt: the prompt.
        attempts: its attempts.
        answer: the service's answer.
        verified: the verified reward that was sent with each attempt; empty if none was.
    """

    prompt: Prompt
    attempts: list[Attempt]
    answer: GroupReward
    verified: Sequence[float | None] = ()

    @property
    def is_ranked(self) -> bool:
        """Whether the service could rank the group; if not, `answer.error` says why."""
        return self.answer.mask

    @property
    def rewards(self) -> list[float]:
        """The rewards in [0, 1], one for each attempt; only a ranked group has them."""
        assert self.answer.rewards is not None
        return self.answer.rewards

    @property
    def has_signal(self) -> bool:
        """Whether the group is ranked and its rewards differ, so that it can be trained on."""
        return self.is_ranked and has_signal(torch.tensor(self.rewards))


def to_wire(
    prompt: Prompt,
    attempts: Sequence[Attempt],
    verified: Sequence[float | None] = (),
    *,
    step: int,
    judge: str | None,
    rubric: str | None,
    tools: Sequence[Mapping[str, Any]],
    run: str,
    steps: int,
) -> TrajectoryGroup:
    """Write a group as the service receives it: messages and finish reasons, no tokens.

    Args:
        prompt: the prompt of all attempts.
        attempts: at least two; their ids on the wire are their indices.
        verified: the verified reward of each attempt; empty for none.
        step: the step of the run, for the group's id and metadata.
        judge, rubric: None for the service's defaults.
        tools: OpenAI definitions of the tools that the attempts could call.
        run: the name of the run, for the metadata.
        steps: how many steps the run is to have, for the metadata.
    """
    return TrajectoryGroup(
        [
            Trajectory(
                str(number),
                attempt.messages,
                finish_reason=attempt.finish_reason,
                verified_reward=reward,
            )
            for number, (attempt, reward) in enumerate(
                zip(attempts, verified or [None] * len(attempts), strict=True)
            )
        ],
        group_id=f"step-{step}/{prompt.id}"[:MAX_GROUP_ID_CHARS],
        judge=judge,
        task=prompt.task,
        reference=prompt.reference,
        rubric=rubric,
        tools=tools or None,
        metadata={"run": run, "step": step, "steps": steps, "prompt_id": prompt.id},
    )


def group_advantages(groups: Sequence[RankedGroup], scheme: str) -> list[list[float]]:
    """Return the advantages of each group's attempts, by a scheme in ADVANTAGES."""
    rewards = [torch.tensor(group.rewards) for group in groups]
    return [advantages_G.tolist() for advantages_G in ADVANTAGES[scheme](rewards)]


def to_samples(
    groups: Sequence[RankedGroup],
    scheme: str,
    *,
    mask_truncated: bool,
    needs_positive: bool = False,
) -> list[GroupSamples]:
    """Collect the samples of ranked groups, with their trajectory's advantage on sampled tokens.

    Args:
        groups: ranked groups.
        scheme: a name in ADVANTAGES.
        mask_truncated: whether an attempt that was cut off counts for its group's baseline only.
        needs_positive: whether an attempt without a positive advantage is left out.

    Returns:
        For each group its attempts, and for each attempt its samples, as far as they have a token
        to train on.
    """
    collected = []
    for group, advantages in zip(groups, group_advantages(groups, scheme), strict=True):
        pairs = zip(group.attempts, advantages, strict=True)
        attempts = [
            [with_advantage(s, advantage) for s in attempt.samples if s.num_loss_tokens]
            for attempt, advantage in pairs
            if not (mask_truncated and attempt.finish_reason == "length")
            and not (needs_positive and advantage <= 0)
        ]
        collected.append([samples for samples in attempts if samples])
    return [attempts for attempts in collected if attempts]


def with_advantage(sample: Sample, advantage: float) -> Sample:
    """Return a copy of a sample whose trained tokens have this advantage."""
    return replace(
        sample, advantages=[advantage if is_trained else 0.0 for is_trained in sample.loss_mask]
    )
