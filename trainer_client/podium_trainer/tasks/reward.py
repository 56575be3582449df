"""Check attempts that are trained on, for the part of their reward that no judge decides.

The value is sent as each trajectory's `verified_reward`. No judge sees it; the service mixes it
into the reward by the judge's `verified_weight`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from podium_trainer.tasks.scorers import find_scorer
from podium_trainer.tasks.task import (
    Message,
    Prompt,
    Task,
    TaskError,
    environment_reward,
    no_score,
)
from podium_trainer.tasks.user_code import score_attempt

OWN_SCORE = "score"


def bounded_environment_reward(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Stand for the reward of the attempt's environment, where it is from 0 to 1."""
    return None


def with_reward(task: Task, name: str | None) -> Task:
    """Return the task with the reward that a recipe asks for.

    Args:
        task: the task.
        name: `score` for the task's own score, a name in SCORERS, or module:function; None leaves
            the task as it is, but what its environments give is sent as far as it is in bounds.

    Raises:
        TaskError: If there is no such function, or the task has no score.
    """
    if name is None:
        is_given = task.score is environment_reward and task.reward is no_score
        return replace(task, reward=bounded_environment_reward) if is_given else task
    if name != OWN_SCORE:
        return replace(task, reward=find_scorer(name, "task.reward"))
    if task.score is no_score:
        raise TaskError(
            "task.reward 'score': the task has no score: name a scorer or module:function"
        )
    return replace(task, reward=task.score)


def sends_reward(task: Task) -> bool:
    """Return whether the attempts of a task have a verified reward."""
    return task.reward is not no_score


class AttemptToCheck(Protocol):
    """An attempt, as far as it can be checked."""

    @property
    def messages(self) -> Sequence[Message]: ...

    @property
    def environment_reward(self) -> float | None: ...


def verify_all(
    task: Task, prompt: Prompt, attempts: Iterable[AttemptToCheck]
) -> list[float | None]:
    """Return the verified reward of each attempt; empty if the task has none.

    Raises:
        UserCodeError, TaskError: As `verify`.
    """
    return [verify(task, prompt, each) for each in attempts] if sends_reward(task) else []


def verify(task: Task, prompt: Prompt, attempt: AttemptToCheck) -> float | None:
    """Return the verified reward of an attempt; None where the task cannot tell.

    Raises:
        UserCodeError: If the task's function raises an exception.
        TaskError: If it returns anything but None or a number from 0 to 1.
    """
    if task.reward is bounded_environment_reward:
        given = attempt.environment_reward
        return given if given is not None and 0 <= given <= 1 else None
    return score_attempt(
        task.reward, prompt, attempt.messages, attempt.environment_reward, what="reward"
    )
