"""Write the groups of a step as lines of `rollouts.jsonl.zst`: one JSON object for each group.

A line is a `GroupLine`, whose `attempts` are `AttemptLine`s. docs/rollouts.md is made from their
`Attributes`. To add a field: add it to one of them with its words, and fill it in `train_line` and
`held_out_line`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from podium.answers import GroupReward, TrajectoryResult
from podium_trainer.evaluation.evaluator import HeldOut, HeldOutGroup
from podium_trainer.policy.samples import Attempt
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.update.groups import RankedGroup

Line = Mapping[str, Any]
Messages = Sequence[Mapping[str, Any]]


class RolloutListener(Protocol):
    """An object that gets the groups of each step."""

    def log(self, step: int, lines: Sequence[Line]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class AttemptLine:
    """One attempt of a group.

    Attributes:
        messages: what follows the prompt: completions with their tool calls, and tool results.
        finish_reason: `stop`, or `length` if the attempt was cut off.
        tokens: number of sampled tokens; null for an attempt of step 0.
        turns: number of completions; null for an attempt of step 0.
        rank: place in the group, 1 is best; null without a ranking, as all down to `flags`.
        reward: reward in [0, 1].
        verified: the verified reward that was sent; null if none was.
        advantage: what the loss multiplies by; null if the group was not trained on.
        score: the judge's score.
        stderr: standard error of the score.
        explanation: the judge's sentence.
        flags: warnings of the service, such as `steering:asks_for_score`.
        task_score: the task's own score of a held-out attempt.
        is_baseline: whether it is an attempt of step 0, against which the others are ranked.
    """

    messages: Messages
    finish_reason: str | None
    tokens: int | None = None
    turns: int | None = None
    rank: float | None = None
    reward: float | None = None
    verified: float | None = None
    advantage: float | None = None
    score: float | None = None
    stderr: float | None = None
    explanation: str | None = None
    flags: Sequence[str] = field(default_factory=list)
    task_score: float | None = None
    is_baseline: bool = False


@dataclass(frozen=True)
class GroupLine:
    """One group.

    Attributes:
        step: the step.
        kind: `train`, or `held_out` for the attempts of an evaluation.
        prompt_id: the prompt's id in the task.
        prompt: the prompt's messages.
        task: the task in words, if the judge was shown it.
        reference: the known good answer, if the judge was shown it.
        ranking_id: id of the ranking in the service, as for `podium explain`; null if there is
            none.
        judge: name of the judge that ranked the group.
        reliability: share of the differences between scores that is signal.
        error: why the service could not rank the group.
        is_trained: whether the group was trained on.
        attempts: the attempts, in the order in which they were sampled.
    """

    step: int
    kind: Literal["train", "held_out"]
    prompt_id: str
    prompt: Messages
    task: str | None
    reference: str | None
    ranking_id: str | None
    judge: str | None
    reliability: float | None
    error: str | None
    is_trained: bool
    attempts: Sequence[AttemptLine]

    def to_json(self) -> dict[str, Any]:
        """Return the line as an object of JSON."""
        return vars(self) | {"attempts": [vars(each) for each in self.attempts]}


def rollout_lines(step: int, gathered: Gathered, held_out: HeldOut | None) -> list[Line]:
    """Return the lines of a step: all groups that were rolled out, then those of its evaluation.

    Args:
        step: the step.
        gathered: its groups, with the advantages of those that are kept.
        held_out: the evaluation after the step; None without one.
    """
    kept = zip(gathered.kept, gathered.advantages, strict=True)
    advantages = {} if gathered.is_skipped else {id(group): values for group, values in kept}
    lines = [train_line(step, group, advantages.get(id(group))) for group in gathered.seen]
    if held_out:
        lines += [held_out_line(step, group) for group in held_out.groups]
    return [line.to_json() for line in lines]


def train_line(step: int, group: RankedGroup, advantages: Sequence[float] | None) -> GroupLine:
    """Return the line of a group; its advantages are None if it was not trained on."""
    results = results_of(group.answer)
    known: Sequence[float | None] = advantages or [None] * len(group.attempts)
    start = len(group.prompt.messages)
    attempts = [
        AttemptLine(
            **words_of(attempt, start),
            **verdict_of(results.get(str(place))),
            verified=verified,
            advantage=advantage,
        )
        for place, (attempt, verified, advantage) in enumerate(
            zip(group.attempts, group.verified or [None] * len(known), known, strict=True)
        )
    ]
    return GroupLine(
        step, "train", group.prompt.id, group.prompt.messages, group.prompt.task,
        group.prompt.reference, **ranking_of(group.answer), is_trained=advantages is not None,
        attempts=attempts,
    )  # fmt: skip


def held_out_line(step: int, group: HeldOutGroup) -> GroupLine:
    """Return the line of a held-out prompt, with the attempts of step 0 that it was ranked with."""
    prompt, outcome, comparison = group.prompt, group.outcome, group.comparison
    results = results_of(outcome)
    names = list(comparison.ids) if comparison else []
    names += [""] * (len(group.attempts) - len(names))
    start = len(prompt.messages)
    attempts = [
        AttemptLine(**words_of(attempt, start), **verdict_of(results.get(name)), task_score=score)
        for attempt, score, name in zip(group.attempts, group.scores, names, strict=True)
    ]
    attempts += [
        AttemptLine(
            each.messages[start:],
            each.finish_reason,
            **verdict_of(results.get(each.id)),
            is_baseline=True,
        )
        for each in (comparison.group.trajectories if comparison else ())
        if each.id not in names
    ]
    return GroupLine(
        step, "held_out", prompt.id, prompt.messages, prompt.task, prompt.reference,
        **ranking_of(outcome), is_trained=False, attempts=attempts,
    )  # fmt: skip


def words_of(attempt: Attempt, start: int) -> dict[str, Any]:
    """Return what an attempt says after its prompt, which has `start` messages."""
    return {
        "messages": attempt.messages[start:],
        "finish_reason": attempt.finish_reason,
        "tokens": attempt.num_tokens,
        "turns": attempt.num_turns,
    }


def results_of(outcome: GroupReward | None) -> dict[str, TrajectoryResult]:
    """Return the service's results by the attempts' ids on the wire."""
    return {each.id: each for each in (outcome.results if outcome else None) or ()}


def verdict_of(result: TrajectoryResult | None) -> dict[str, Any]:
    """Return what the service says of an attempt; nothing without a ranking."""
    return {} if result is None else result.model_dump(exclude={"id"})


def ranking_of(outcome: GroupReward | None) -> dict[str, Any]:
    """Return what the service says of a group as a whole."""
    ranking = outcome.ranking if outcome else None
    return {
        "ranking_id": ranking.id if ranking else None,
        "judge": ranking.judge if ranking else None,
        "reliability": ranking.reliability if ranking else None,
        "error": str(outcome.error) if outcome and outcome.error else None,
    }
