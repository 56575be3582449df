"""Try the held-out prompts of a task, whatever trains the policy."""

import statistics
from collections.abc import Sequence
from typing import Any

from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.tasks.task import Prompt, Task


def look(
    task: Task,
    rollout: Rollout,
    step: int,
    *,
    samples: int,
    seed: int,
    prompts: Sequence[Prompt] | None = None,
) -> dict[str, Any]:
    """Return the share of right answers to each held-out prompt, and the answers' entropy.

    Args:
        task: its held-out prompts and its score are used.
        rollout: samples from the policy.
        step: the step that the policy has taken, which also decides the draws.
        samples: attempts at each prompt.
        seed: the seed of the run.
        prompts: what to try; None for the held-out ones.
    """
    prompts = task.held_out if prompts is None else prompts
    draws = f"{seed}/{step}/held out"
    groups = rollout.sample_groups(prompts, samples, seed=draws)
    scores = [
        statistics.fmean(task.score(prompt, each.messages) or 0.0 for each in attempts)
        for prompt, attempts in zip(prompts, groups, strict=True)
    ]
    attempts = [attempt for group in groups for attempt in group]
    return {"step": step, "scores": scores, "entropy": round(entropy(attempts), 4)}


def entropy(attempts: Sequence[Attempt]) -> float:
    """Return the entropy of whole answers in nats, averaged over prompts: the mean of -log p."""
    return -statistics.fmean(
        sum(sum(sample.behavior_logprobs) for sample in attempt.samples) for attempt in attempts
    )
