"""The training loop: rollout, rank, update, sync. Start reading at `Trainer.run`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from podium.blocking_client import RankClient
from podium_trainer.config import TrainConfig
from podium_trainer.evaluation.evaluator import Evaluator, HeldOut
from podium_trainer.gathering.activity import Activity
from podium_trainer.gathering.ahead import Ahead
from podium_trainer.gathering.gatherer import Gatherer
from podium_trainer.policy.policy import Policy
from podium_trainer.policy.ranks.processes import RankLost
from podium_trainer.records.best import progress
from podium_trainer.records.checkpoint import CheckpointError, RunState, save_checkpoint
from podium_trainer.records.metrics import MetricsError, Row
from podium_trainer.records.rows.clock import Clock
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.records.run_log import RunLog
from podium_trainer.records.step import Done, idle_message, why_skipped
from podium_trainer.records.watcher import Watcher
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.samplers.weight_sync import WeightSync
from podium_trainer.tasks.task import PromptCursor, Task
from podium_trainer.update.groups import group_advantages, to_samples
from podium_trainer.update.loss import LOSSES
from podium_trainer.update.mini_batch import GroupSamples
from podium_trainer.update.ranker import Ranker
from podium_trainer.update.update import UpdateSkipped, UpdateStats, update, update_settings

STOP_S = 5.0


class TrainingStopped(Exception):
    """The run cannot go on; the message is one line that says why and what to do."""


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
        made_with: what its checkpoints are made with, as records/made_with.py says it.
        log: writes what each step was.
        watcher: the display.
        updating: entered for each update, within which there is no state that could be saved.
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
        made_with: Mapping[str, Any],
        log: RunLog,
        watcher: Watcher,
        updating: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.config = config
        self.scheme = config.loss.advantages or LOSSES[config.loss.name].advantages
        self.task = task
        self.policy = policy
        self.optimizer = optimizer
        self.rollout = rollout
        self.evaluator = evaluator
        self.sync = sync
        self.activity = Activity()
        self.gatherer = Gatherer(
            config, rollout=rollout, ranker=Ranker(config, task, rollout, client),
            cursor=PromptCursor(task.train, config.seed, state.prompts_taken),
            activity=self.activity, watcher=watcher,
        )  # fmt: skip
        self.ahead = Ahead(
            self.gatherer.begin, max_staleness=config.max_staleness, last=config.steps
        )
        self.step = state.step
        self.policy_version = state.policy_version
        self.idle_steps = state.idle_steps
        self.skipped_steps = state.skipped_steps
        self.best_step, self.best_score = state.best_step, state.best_score
        self.saved_step = self.logged_step = state.step
        self.good: RunState | None = state  # that of the present weights; None within an update
        self.done = Done(Gathered())
        self.made_with = made_with
        self.log = log
        self.watcher = watcher
        self.updating = updating

    def run(self) -> None:
        """Train until `config.steps`.

        Raises:
            TrainingStopped: If no step had anything to train on for too long.
            SamplerError, CheckpointError, RankError, UserCodeError: If a part fails for good. The
                last good state is then in a checkpoint.
        """
        try:
            if self.step == 0:
                self._report()
            while self.step < self.config.steps:
                self._step_or_save()
        finally:
            self._stop_gathers()

    def _step_or_save(self) -> None:
        """Run one step; if anything fails outside of the update, save the last good state."""
        self.good = self.state()
        try:
            self.one_step()
            self.good = self.state()
            is_due = self.step % self.config.checkpoint.every == 0
            if is_due or self.step in (self.config.steps, self.best_step):
                self.save()
        except CheckpointError:
            raise
        except (Exception, KeyboardInterrupt):
            try:
                self._stop_gathers()
            finally:
                self._save_good()
            raise

    def _stop_gathers(self) -> None:
        """End the gathers ahead, and do not wait for one that does not end."""
        self.gatherer.stop()
        self.ahead.wait(STOP_S)

    def _save_good(self) -> None:
        """Save the state that the weights are in; if that is after the step, also write its row."""
        good, is_lost = self.good, self.policy.ranks.lost is not None
        if good is None or good.step <= self.saved_step or is_lost:
            return
        try:
            if not self.policy.is_finite:
                return
            if good.step > self.logged_step:
                self._log_or_note(good)
            self.save(good)
        except (CheckpointError, RankLost) as error:  # what stops the run says more
            self.watcher.note(f"step {good.step} was not saved: {error}")

    def _log_or_note(self, good: RunState) -> None:
        try:
            self._log(None)
        except MetricsError:  # it is what stops the run, or says the same
            self.watcher.note(f"step {good.step} is saved without its row of numbers")

    def one_step(self) -> None:
        """Run one step: rollout, rank, update, sync, report."""
        self.step += 1
        self.done = Done(Gathered())
        try:
            with self.done.clock.time("waited"), self.gatherer.shown(self.step):
                self.done.gathered = self.ahead.take(self.step)
            if self.done.gathered.kept:
                self.learn(self.done)
        except (UpdateSkipped, torch.OutOfMemoryError) as error:
            self.done.skipped = why_skipped(error)
        self._report()
        if self.done.skipped:
            self._count_skipped(self.done.skipped)
        else:
            self._count_idle(self.done)

    def learn(self, done: Done) -> None:
        """Update the policy on the groups with signal, and give the sampler the new weights.

        Raises:
            UpdateSkipped: If the update fails. The weights are then those before it, or those
                after some of its steps, which the sampler has got.
        """
        config = self.config
        samples = to_samples(
            done.gathered.kept,
            self.scheme,
            mask_truncated=config.rollout.mask_truncated,
            needs_positive=LOSSES[config.loss.name].needs_positive,
        )
        if not samples:
            return
        try:
            with done.clock.time("update"), self.activity.part("update"), self.updating():
                self._train(samples, done)
        except UpdateSkipped as error:
            if error.num_steps:
                self._push(done.clock)
            raise
        self._push(done.clock)

    def _train(self, samples: Sequence[GroupSamples], done: Done) -> None:
        """Update the policy, and take its new weights for good."""
        before, self.good = self.good, None
        try:
            done.stats = self._update(samples, done.gathered)
        except UpdateSkipped as error:
            if error.num_steps:
                self._advance()
            else:
                self.good = before
            raise
        self._advance()

    def _update(self, samples: Sequence[GroupSamples], gathered: Gathered) -> UpdateStats:
        self.watcher.phase("update")
        loss = self.config.loss
        settings = update_settings(
            self.config, self.task.max_turns, self.step,
            kept=len(gathered.kept), ranked=gathered.num_ranked,
        )  # fmt: skip
        with self.policy.ranks.lead("update", samples, loss, **settings):
            return update(self.policy, self.optimizer, samples, loss, **settings)

    def _advance(self) -> None:
        """Count the new weights; the state with them is good from now on."""
        self.policy_version += 1
        self.idle_steps = 0
        self.good = self.state()

    def _push(self, clock: Clock) -> None:
        """Give the sampler the new weights."""
        with clock.time("sync"), self.activity.part("update"):
            self.watcher.phase("sync")
            self.sync.push(self.policy_version)

    def state(self) -> RunState:
        """Return the state of the run without the weights."""
        return RunState(
            self.step, self.gatherer.place(self.step + 1), self.policy_version, self.idle_steps,
            self.skipped_steps, self.best_step, self.best_score,
        )  # fmt: skip

    def save(self, state: RunState | None = None) -> None:
        """Write a checkpoint of the weights with this state, by default the present one."""
        state = state or self.state()
        self.watcher.phase("checkpoint")
        save_checkpoint(
            self.config.out / "checkpoints", self.policy, self.optimizer, state,
            self.config.checkpoint.keep, self.made_with,
        )  # fmt: skip
        self.saved_step = state.step

    def _count_skipped(self, reason: str) -> None:
        self.skipped_steps += 1
        self.watcher.note(f"step {self.step} was skipped: {reason}")
        if self.skipped_steps >= self.config.max_skipped_steps:
            count = f"{self.skipped_steps} steps in a row were skipped"
            raise TrainingStopped(f"{count}; in the last one {reason}")

    def _count_idle(self, done: Done) -> None:
        gathered, has_learned = done.gathered, done.stats is not None
        self.skipped_steps = 0 if has_learned else self.skipped_steps
        self.idle_steps = 0 if has_learned else self.idle_steps + 1
        first_step_lost = self.step == 1 and not any(group.is_ranked for group in gathered.seen)
        if first_step_lost or self.idle_steps >= self.config.max_idle_steps:
            raise TrainingStopped(idle_message(self.idle_steps, gathered))

    def _report(self) -> None:
        """Evaluate the policy if it is time to, and write what the step was."""
        every, step = self.config.eval.every, self.step
        is_due = every and (step % every == 0 or step == self.config.steps)
        with self.done.clock.time("held_out"):
            held_out = self.evaluator.evaluate(step, self.watcher.phase) if is_due else None
        score = progress(self._log(held_out))
        if score is not None and (self.best_score is None or score > self.best_score):
            self.best_score, self.best_step = score, step or None
        shown = self.config.log.samples_every
        if self.done.gathered.seen and shown and (step % shown == 0 or step == 1):
            self.watcher.groups(step, self.done.gathered.seen)

    def _log(self, held_out: HeldOut | None) -> Row:
        """Give the rows of the step to all listeners, and return the metrics row."""
        step, done = self.step, self.done
        done.gathered.advantages = group_advantages(done.gathered.kept, self.scheme)
        done.gathered.too_long = self.task.too_long
        done.gathered.is_skipped = done.skipped is not None
        done.gathered.servers_ready = self.rollout.sampler.servers_ready
        done.idle = self.activity.read()
        lr = self.optimizer.param_groups[0]["lr"]
        row, timing = self.log.write(step, done, held_out, self.policy_version, lr)
        self.logged_step = step
        self.watcher.step_done(step, row, timing)
        return row
