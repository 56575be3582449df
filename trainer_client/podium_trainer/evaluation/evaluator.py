"""Evaluate the policy on held-out prompts. Start reading at `Evaluator.evaluate`.

The attempts of step 0 are kept in the run's folder. Those of later steps are ranked against them by
the service, which answers a comparison that it has made before from its store.
"""

import logging
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from podium.answers import GroupReward
from podium.blocking_client import RankClient
from podium_trainer.config import TrainConfig
from podium_trainer.evaluation.baseline import NAME, read_baseline, write_baseline
from podium_trainer.evaluation.win_rate import (
    BASELINE_STEP,
    Comparison,
    Played,
    WinRate,
    average,
    mix,
    share_won,
)
from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.failures import describe_failures, part_failures
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.tasks.reward import verify
from podium_trainer.tasks.task import Prompt, Task, no_score
from podium_trainer.tasks.user_code import score_attempt

Phase = Callable[[str, int, int], None]
_log = logging.getLogger("podium")


@dataclass(frozen=True)
class HeldOutGroup:
    """The attempts at one held-out prompt.

    Attributes:
        prompt: the prompt.
        attempts: its attempts.
        scores: the task's score of each attempt; None where it has none.
        comparison: the group in which the first attempts were ranked against those of step 0; None
            if they were not.
        outcome: the service's answer to it.
    """

    prompt: Prompt
    attempts: list[Attempt]
    scores: list[float | None]
    comparison: Comparison | None = None
    outcome: GroupReward | None = None


@dataclass(frozen=True)
class HeldOut:
    """An evaluation.

    Attributes:
        groups: all attempts, by prompt.
        score: the mean score of all attempts that have one; None if none has.
        win_rate: the win rate against step 0; None if it is not measured.
        lost: the number of prompts that the sampler failed at, which have no group.
    """

    groups: list[HeldOutGroup]
    score: float | None
    win_rate: WinRate | None
    lost: int = 0


class Evaluator:
    """Plays held-out prompts, scores the attempts, and has them ranked against those of step 0.

    Args:
        config: all settings of the run.
        task: the held-out prompts and the score.
        rollout: plays prompts with the sampler.
        client: asks the reward service.
    """

    def __init__(
        self, config: TrainConfig, task: Task, rollout: Rollout, client: RankClient
    ) -> None:
        self.config = config
        self.task = task
        self.rollout = rollout
        self.client = client
        self.path = config.out / NAME
        self.is_scored = task.score is not no_score
        self._has_warned = False
        prompts = list(task.held_out[: config.eval.limit])
        self.compared = choose(prompts, config.eval.win_rate.prompts, config.seed)
        self.prompts = prompts if self.is_scored else self.compared

    @property
    def num_attempts(self) -> int:
        """The number of attempts at each prompt."""
        needed = self.config.eval.win_rate.samples if self.compared else 1
        return max(needed, self.config.eval.samples if self.is_scored else 0)

    def evaluate(self, step: int, on_phase: Phase) -> HeldOut | None:
        """Evaluate the weights after a step.

        Args:
            step: the step, 0 before any training. The attempts of step 0 are kept.
            on_phase: called with the name of the phase, and how much of it is done.

        Returns:
            The evaluation; None without held-out prompts.

        Raises:
            SamplerError, RankError: As the rollout and the client do.
            BaselineError: If the attempts of step 0 cannot be kept or read.
        """
        if not self.prompts:
            return None
        on_phase("held out", 0, 0)
        played = self.rollout.try_groups(
            self.prompts,
            self.num_attempts,
            seed=f"{self.config.seed}/{step}/held out",
            on_progress=lambda done, total: on_phase("held out", done, total),
        )
        prompts, attempts_by_prompt, failures = part_failures(self.prompts, played)
        if failures:
            _log.warning("held out: %s", describe_failures(failures, len(played)))
        groups = [
            HeldOutGroup(
                prompt,
                attempts,
                [
                    score_attempt(self.task.score, prompt, a.messages, a.environment_reward)
                    for a in attempts
                ],
            )
            for prompt, attempts in zip(prompts, attempts_by_prompt, strict=True)
        ]
        groups, win_rate = self._compare(step, groups, on_phase)
        return HeldOut(groups, mean_score(groups), win_rate, len(failures))

    def _compare(
        self, step: int, groups: list[HeldOutGroup], on_phase: Phase
    ) -> tuple[list[HeldOutGroup], WinRate | None]:
        """Rank the attempts against those of step 0, which are kept at that step."""
        names = {prompt.id for prompt in self.compared}
        now = {
            group.prompt.id: as_played(group.attempts[: self.config.eval.win_rate.samples])
            for group in groups
            if group.prompt.id in names
        }
        if not now:
            return groups, None
        if step == BASELINE_STEP:
            write_baseline(self.path, now)
            return groups, WinRate(rate=0.5, stderr=0.0, prompts=len(now), failed=0)
        baseline = read_baseline(self.path, self.compared)
        comparisons = {
            prompt.id: self._mix(step, prompt, now[prompt.id], baseline[prompt.id])
            for prompt in self.compared
            if prompt.id in baseline and prompt.id in now
        }
        if not comparisons:
            self._warn()
            return groups, None
        on_phase("win rate", 0, len(comparisons))
        answers = self.client.rank_many(
            [each.group for each in comparisons.values()],
            on_progress=lambda done, total: on_phase("win rate", done, total),
        )
        outcomes = dict(zip(comparisons, answers, strict=True))
        shares = [share_won(each, outcomes[name]) for name, each in comparisons.items()]
        compared = [
            replace(
                group,
                comparison=comparisons.get(group.prompt.id),
                outcome=outcomes.get(group.prompt.id),
            )
            for group in groups
        ]
        return compared, average(shares)

    def _mix(
        self, step: int, prompt: Prompt, now: Sequence[Played], baseline: Sequence[Played]
    ) -> Comparison:
        settings, service = self.config.eval, self.config.service
        own_rubric = service.rubric if settings.judge in (None, service.judge) else None
        return mix(
            prompt,
            now,
            baseline[: self.config.eval.win_rate.samples],
            run=self.config.run_name,
            step=step,
            seed=f"{self.config.seed}/win rate",
            judge=settings.judge or service.judge,
            rubric=own_rubric if settings.rubric is None else settings.rubric,
            tools=self.rollout.definitions,
            verify=partial(verify, self.task, prompt),
        )

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "there is no win rate: %s holds no attempt of step 0 at these prompts, so start"
                " another run to have one, or set eval.win_rate.prompts to 0",
                self.path,
            )


def choose(prompts: Sequence[Prompt], count: int, seed: int) -> list[Prompt]:
    """Choose at most `count` prompts at random by the seed, and return them in their order."""
    places = random.Random(f"{seed}/win rate").sample(range(len(prompts)), len(prompts))
    return [prompts[place] for place in sorted(places[:count])]


def as_played(attempts: Sequence[Attempt]) -> list[Played]:
    """Return what a judge may see of attempts."""
    return [Played(each.messages, each.finish_reason, each.environment_reward) for each in attempts]


def mean_score(groups: Sequence[HeldOutGroup]) -> float | None:
    """Return the mean of all scores; None if there is none."""
    scores = [score for group in groups for score in group.scores if score is not None]
    return statistics.fmean(scores) if scores else None
