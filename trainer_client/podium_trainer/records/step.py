"""Hold what a step has done so far, and say in one line why it failed or the run stops."""

from dataclasses import dataclass, field

import torch

from podium_trainer.records.rows.clock import Clock
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.rollout.failures import describe_failures
from podium_trainer.update.update import UpdateSkipped, UpdateStats


@dataclass
class Done:
    """The work that a step has done so far.

    Attributes:
        gathered: its groups.
        stats: the numbers of its update; None without one.
        skipped: why its update failed; None if it did not.
        clock: what it took.
        idle: for each part, the share of the time since the step before in which it was idle.
    """

    gathered: Gathered
    stats: UpdateStats | None = None
    skipped: str | None = None
    clock: Clock = field(default_factory=Clock)
    idle: dict[str, float] = field(default_factory=dict)


def why_skipped(error: UpdateSkipped | torch.OutOfMemoryError) -> str:
    """Say in one line why a step was skipped."""
    if isinstance(error, UpdateSkipped):
        return str(error)
    words = str(error).partition(".")[0]
    return f"the rollout ran out of memory ({words}): lower sampler.max_rows"


def lost_line(gathered: Gathered) -> str:
    """Say in one line how many groups the sampler failed at, of which there is at least one."""
    return describe_failures(gathered.lost, len(gathered.lost) + len(gathered.seen))


def idle_message(idle_steps: int, gathered: Gathered) -> str:
    """Say in one line why nothing could be trained on in so many steps, and what to do."""
    reasons = [group.answer.error for group in gathered.seen if group.answer.error]
    if gathered.lost:
        return f"no group to train on in {idle_steps} steps; in the last one {lost_line(gathered)}"
    if reasons:
        why = f"{len(reasons)} of {len(gathered.seen)} groups could not be ranked: {reasons[0]}"
        return f"no group to train on in {idle_steps} steps; in the last one {why}"
    if gathered.kept:
        return (
            f"no token to train on in {idle_steps} steps: every attempt was truncated; raise"
            " sampler.max_tokens or the task's max_turns, or set rollout.mask_truncated to false"
        )
    return (
        f"no group to train on in {idle_steps} steps: the rewards of every group were equal;"
        " raise rollout.group_size or sampler.temperature, or take an easier or harder task"
    )
