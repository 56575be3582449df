"""Reward slime by a judge that ranks each group: `--group-rm --custom-rm-path` of its rollout.

    python train.py ... --group-rm --custom-rm-path podium.integrations.slime.group_rm \\
        --disable-grpo-std-normalization --custom-config-path podium.yaml

A group that failed is left out: its samples get equal rewards, and `remove_sample`, with which
slime sets their loss mask to zeros. Settings are in the file of `--custom-config-path`, or else in
the environment: `podium_url` or PODIUM_URL, `podium_judge` or PODIUM_JUDGE, `podium_rubric` or
PODIUM_RUBRIC, `podium_deadline_s` or PODIUM_DEADLINE_S. slime itself is not imported: its samples
are taken as they come.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from podium.answers import GroupReward
from podium.client import DEFAULT_DEADLINE_S, AsyncRankClient
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.outcome import (
    metrics,
    rewards_of,
    run_metadata,
    tell_page,
    warn_of_spread,
)

if TYPE_CHECKING:
    from slime.utils.types import Sample

_NO_REWARD = 0.0


async def group_rm(
    args: Any, samples: "Sequence[Sample] | Sequence[Sequence[Sample]]", **_of_others: Any
) -> list[float]:
    """Rank the samples of one prompt, and return a reward for each.

    Args:
        args: slime's arguments.
        samples: the samples of a group; or for each rollout the samples that it was cut into, of
            which the last one holds the whole conversation, and all get its reward.

    Raises:
        RankError: If no later group can be ranked either, or none was for too long; slime's rollout
            ends.
    """
    if getattr(args, "grpo_std_normalization", False):
        warn_of_spread("slime", "--disable-grpo-std-normalization")
    rollouts = [list(each) if isinstance(each, Sequence) else [each] for each in samples]
    client = _client(_setting(args, "url"))
    outcome = await client.try_rank(
        _group(args, [rollout[-1] for rollout in rollouts]),
        deadline_s=float(_setting(args, "deadline_s") or DEFAULT_DEADLINE_S),
    )
    tell_page(client.page(run=_run(args)))
    rewards = rewards_of(outcome) or [_NO_REWARD] * len(rollouts)
    for rollout, reward in zip(rollouts, rewards, strict=True):
        for sample in rollout:
            _settle(sample, reward, outcome)
    return rewards


@cache
def _client(url: str | None) -> AsyncRankClient:
    """Return the client of this process; it serves any event loop and survives forks."""
    return AsyncRankClient(url)


def _group(args: Any, samples: "Sequence[Sample]") -> TrajectoryGroup:
    first = samples[0]
    label = first.label
    return TrajectoryGroup(
        [
            Trajectory(str(n), _messages(sample), finish_reason=_finish_reason(sample))
            for n, sample in enumerate(samples)
        ],
        group_id=None if first.group_index is None else f"slime/{first.group_index}",
        judge=_setting(args, "judge"),
        rubric=_setting(args, "rubric"),
        reference=None if label in (None, "") else str(label),
        metadata=run_metadata("slime", _run(args), None),
    )


def _run(args: Any) -> str | None:
    return getattr(args, "wandb_group", None)


def _messages(sample: "Sample") -> list[Mapping[str, Any]]:
    prompt = sample.prompt
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [*asked, {"role": "assistant", "content": sample.response}]


def _finish_reason(sample: "Sample") -> str:
    return "length" if sample.status.value == "truncated" else "stop"


def _settle(sample: "Sample", reward: float, outcome: GroupReward) -> None:
    """Write down a sample's reward and what to know about it; leave it out if its group failed."""
    sample.reward = reward
    ranking_id = outcome.ranking.id if outcome.ranking else None
    found = metrics([outcome]) | {"podium/ranking": ranking_id}
    sample.metadata = {**(sample.metadata or {}), **found}
    if not outcome.mask:
        sample.remove_sample = True


def _setting(args: Any, name: str) -> Any:
    """Return a setting of slime's arguments, or else of the environment; None if it is nowhere."""
    return getattr(args, f"podium_{name}", None) or os.environ.get(f"PODIUM_{name.upper()}")
