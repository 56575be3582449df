"""Write what each step was to all that keep it: the run's files and the trackers."""

from collections.abc import Sequence
from dataclasses import dataclass

from podium_trainer.evaluation.evaluator import HeldOut
from podium_trainer.records.metrics import Listener, Row
from podium_trainer.records.rollouts.lines import RolloutListener, rollout_lines
from podium_trainer.records.rows.metrics import metrics_row
from podium_trainer.records.rows.timings import timings_row
from podium_trainer.records.step import Done


@dataclass(frozen=True)
class RunLog:
    """The listeners of a run.

    Attributes:
        metrics: get the metrics row of each step.
        timings: gets the timings row of each step.
        rollouts: get the groups of each step.
    """

    metrics: Sequence[Listener]
    timings: Listener
    rollouts: Sequence[RolloutListener]

    def write(
        self, step: int, done: Done, held_out: HeldOut | None, version: int, lr: float
    ) -> tuple[Row, Row]:
        """Give a step to all listeners, and return its rows of metrics and of timings.

        Args:
            step: the step.
            done: what it has done.
            held_out: the evaluation after the step; None without one.
            version: the version of the weights after the step.
            lr: the learning rate of its update.

        Raises:
            MetricsError: If a file cannot be written.
        """
        lines = rollout_lines(step, done.gathered, held_out)
        row = metrics_row(done.gathered, done.stats, held_out, version, lr)
        timing = timings_row(done.gathered, held_out, done.clock.seconds, done.idle)
        for each in self.rollouts:
            each.log(step, lines)
        for listener in self.metrics:
            listener.log(step, row)
        self.timings.log(step, timing)
        return row, timing

    def close(self) -> None:
        """Close all listeners."""
        for listener in (*self.metrics, self.timings):
            listener.close()
        for each in self.rollouts:
            each.close()
