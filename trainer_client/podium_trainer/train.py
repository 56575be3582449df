"""The training loop: rollout, rank, update, sync. Start reading at `Trainer.run`."""

from collections.abc import Sequence
from typing import Protocol

import torch

from podium.blocking_client import RankClient
from podium.errors import RankError
from podium_trainer.config import TrainConfig
from podium_trainer.evaluation.evaluator import Evaluator
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.samples import Attempt
from podium_trainer.records.checkpoint import RunState, save_checkpoint
from podium_trainer.records.metrics import Listener, Row
from podium_trainer.records.metrics_rows import Clock, Gathered, metrics_row, timings_row
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.samplers import SamplerError
from podium_trainer.samplers.weight_sync import WeightSync
from podium_trainer.tasks.task import Prompt, PromptCursor, Task
from podium_trainer.update.groups import RankedGroup, group_advantages, to_samples, to_wire
from podium_trainer.update.learning_rate import learning_rate
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.update import UpdateStats, update


class TrainingStopped(Exception):
    """The run cannot go on; the message is one line that says why and what to do."""


class Watcher(Protocol):
    """A display that shows a run to a person."""

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        """Show the present phase of the step, and `done` of its `total` parts."""

    def note(self, text: str) -> None:
        """Show a line about the run."""

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        """Show the numbers of a step."""

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        """Show some completions with their rewards and the judge's explanations."""


class Trainer:
    """One run. All its parts come in through the constructor; `run.build.open_trainer` makes them.

    Args:
        config: all settings; the learning rate is a number.
        task: the prompts, tools and score.
        policy: the model that is trained.
        optimizer: the optimizer over the policy's parameters.
        rollout: plays prompts with the sampler.
        evaluator: measures the policy on held-out prompts.
        client: asks the reward service.
        sync: gives the sampler new weights.
        state: the point to start from; step 0 for a new run.
        metrics: listeners that get the metrics row of each step.
        timings: the listener that gets the timings row of each step.
        watcher: the display.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        task: Task,
        policy: Policy,
        optimizer: torch.optim.Optimizer,
        rollout: Rollout,
        evaluator: Evaluator,
        client: RankClient,
        sync: WeightSync,
        state: RunState,
        metrics: Sequence[Listener],
        timings: Listener,
        watcher: Watcher,
    ) -> None:
        self.config = config
        self.scheme = config.loss.advantages or LOSSES[config.loss.name].advantages
        self.task = task
        self.policy = policy
        self.optimizer = optimizer
        self.rollout = rollout
        self.evaluator = evaluator
        self.client = client
        self.sync = sync
        self.cursor = PromptCursor(task.train, config.seed, state.prompts_taken)
        self.step = state.step
        self.policy_version = state.policy_version
        self.idle_steps = state.idle_steps
        self.saved_step = state.step
        self.is_learning = False
        self.metrics = metrics
        self.timings = timings
        self.watcher = watcher

    def run(self) -> None:
        """Train until `config.steps`.

        Raises:
            TrainingStopped: If no step had anything to train on for too long.
            SamplerError, CheckpointError, RankError, UpdateError: If a part fails for good. The
                steps before it are in a checkpoint, unless it failed within an update.
        """
        if self.step == 0:
            self._report(0, Gathered(), None, Clock())
        while self.step < self.config.steps:
            self._step_or_save()
            if self.step % self.config.checkpoint.every == 0 or self.step == self.config.steps:
                self.save()

    def _step_or_save(self) -> None:
        """Run one step; if it fails before it changes the weights, save the state before it."""
        before = self.state()
        try:
            self.one_step()
        except (TrainingStopped, SamplerError, RankError, KeyboardInterrupt):
            if not self.is_learning and before.step > self.saved_step:
                self.save(before)
            raise

    def one_step(self) -> None:
        """Run one step: rollout, rank, update, sync, report."""
        self.step += 1
        self.is_learning = False
        clock = Clock()
        gathered = self.gather(clock)
        stats = None
        if gathered.kept:
            stats = self.learn(gathered.kept, clock)
        self._report(self.step, gathered, stats, clock)
        self._count_idle(gathered, has_learned=stats is not None)

    def gather(self, clock: Clock) -> Gathered:
        """Return the groups of a step.

        Groups without signal or without a ranking are replaced by groups of new prompts, at most
        `rollout.max_refills` times.
        """
        config = self.config.rollout
        gathered = Gathered()
        for attempt in range(1 + config.max_refills):
            missing = config.prompts_per_step - len(gathered.kept)
            if not missing:
                break
            prompts = self.cursor.take(missing)
            with clock.time("rollout"):
                self.watcher.phase("rollout")
                played = self.rollout.sample_groups(
                    prompts,
                    config.group_size,
                    seed=f"{self.config.seed}/{self.step}/{attempt}",
                    on_progress=lambda done, total: self.watcher.phase("rollout", done, total),
                )
            with clock.time("rank"):
                self.watcher.phase("rank")
                ranked = self.rank(prompts, played)
            gathered.seen += ranked
            gathered.kept += [group for group in ranked if group.has_signal]
        return gathered

    def rank(self, prompts: Sequence[Prompt], played: Sequence[list[Attempt]]) -> list[RankedGroup]:
        """Ask the service to rank each group; a group that it cannot rank comes back masked."""
        service = self.config.service
        groups = [
            to_wire(
                prompt,
                attempts,
                step=self.step,
                judge=service.judge,
                rubric=service.rubric,
                tools=self.rollout.definitions,
                run=self.config.out.name,
                steps=self.config.steps,
            )
            for prompt, attempts in zip(prompts, played, strict=True)
        ]
        answers = self.client.rank_many(
            groups, on_progress=lambda done, total: self.watcher.phase("rank", done, total)
        )
        return [RankedGroup(*parts) for parts in zip(prompts, played, answers, strict=True)]

    def learn(self, groups: Sequence[RankedGroup], clock: Clock) -> UpdateStats | None:
        """Update the policy on ranked groups, and give the sampler the new weights."""
        config = self.config
        samples = to_samples(
            groups,
            self.scheme,
            mask_truncated=config.rollout.mask_truncated,
            needs_positive=LOSSES[config.loss.name].needs_positive,
        )
        if not samples:
            return None
        self.is_learning = True
        with clock.time("update"):
            self.watcher.phase("update")
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(config.optimizer, self.step, config.steps)
            stats = update(
                self.policy,
                self.optimizer,
                samples,
                config.loss,
                max_completion_tokens=config.sampler.max_tokens * self.task.max_turns,
                micro_batch_tokens=config.optimizer.micro_batch_tokens,
                max_grad_norm=config.optimizer.max_grad_norm,
                passes=config.optimizer.passes,
                mini_batches=config.optimizer.mini_batches,
            )
        with clock.time("sync"):
            self.watcher.phase("sync")
            self.policy_version += 1
            self.sync.push(self.policy_version)
        return stats

    def state(self) -> RunState:
        """Return the state of the run without the weights."""
        return RunState(self.step, self.cursor.num_taken, self.policy_version, self.idle_steps)

    def save(self, state: RunState | None = None) -> None:
        """Write a checkpoint of the weights with this state, by default the present one."""
        state = state or self.state()
        self.watcher.phase("checkpoint")
        save_checkpoint(
            self.config.out / "checkpoints",
            self.policy,
            self.optimizer,
            state,
            self.config.checkpoint.keep,
        )
        self.saved_step = state.step

    def _count_idle(self, gathered: Gathered, *, has_learned: bool) -> None:
        self.idle_steps = 0 if has_learned else self.idle_steps + 1
        reasons = [group.answer.error for group in gathered.seen if group.answer.error]
        first_step_lost = self.step == 1 and len(reasons) == len(gathered.seen)
        if first_step_lost or self.idle_steps >= self.config.max_idle_steps:
            raise TrainingStopped(idle_message(self.idle_steps, gathered, reasons))

    def _report(
        self, step: int, gathered: Gathered, stats: UpdateStats | None, clock: Clock
    ) -> None:
        every = self.config.eval.every
        with clock.time("held_out"):
            is_due = every and (step % every == 0 or step == self.config.steps)
            held_out = self.evaluator.evaluate(step, self.watcher.phase) if is_due else None
        gathered.advantages = group_advantages(gathered.kept, self.scheme)
        lr = self.optimizer.param_groups[0]["lr"]
        gathered.too_long = self.task.too_long
        row = metrics_row(gathered, stats, held_out, self.policy_version, lr)
        timing = timings_row(gathered, held_out, clock)
        for listener in self.metrics:
            listener.log(step, row)
        self.timings.log(step, timing)
        self.watcher.step_done(step, row, timing)
        shown = self.config.log.samples_every
        if gathered.seen and shown and (step % shown == 0 or step == 1):
            self.watcher.groups(step, gathered.seen)


def idle_message(idle_steps: int, gathered: Gathered, reasons: Sequence[RankError]) -> str:
    """Say in one line why nothing could be trained on, and what to do."""
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
