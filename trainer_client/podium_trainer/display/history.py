"""Keep the rows of all steps of a run, also of those before a resume."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podium_trainer.records.metrics import Row, read_rows

RECENT = 50
OWN_PHASES = ("waited", "update", "sync", "held_out")  # no two of them at the same time
Series = list[tuple[int, float]]


def series(rows: Sequence[Row], name: str) -> Series:
    """Return (step, value) of the rows that have a finite number of this name."""
    points = [(row["step"], row.get(name)) for row in rows]
    return [
        (int(step), float(value))
        for step, value in points
        if isinstance(step, int) and isinstance(value, int | float) and math.isfinite(value)
    ]


@dataclass
class History:
    """The rows of a run's two files.

    Attributes:
        metrics: one metrics row per step, in order.
        timings: one timings row per step, in order.
    """

    metrics: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, out: Path) -> "History":
        """Read the rows in a run's folder; a new run has none."""
        metrics, timings = read_rows(out / "metrics.jsonl"), read_rows(out / "timings.jsonl")
        return cls([*metrics], [*timings])

    def add(self, step: int, row: Row, timing: Row) -> None:
        self.metrics.append({"step": step} | dict(row))
        self.timings.append({"step": step} | dict(timing))

    @property
    def step(self) -> int:
        """The last step that is done."""
        return int(self.now("step") or 0)

    def now(self, name: str) -> float | None:
        """Return a metric of the last step; None if the step has no such number."""
        points = series(self.metrics[-1:], name)
        return points[0][1] if points else None

    def headline(self) -> tuple[Series, str]:
        """Return what shows progress, and its name: the score, or else the win rate."""
        scores, wins = series(self.metrics, "held_out"), series(self.metrics, "win_rate")
        if wins and not scores:
            return wins, "win rate against step 0"
        return scores, "held-out score"

    def values(self, name: str) -> list[float]:
        """Return all numbers of a metric, oldest first."""
        return [value for _, value in series(self.metrics, name)]

    def timing(self, name: str) -> list[float]:
        """Return a timing of all steps in which it is not zero."""
        return [value for _, value in series(self.timings, name) if value]

    def recent(self, name: str) -> list[float]:
        """Return a timing of recent steps, as far as they have it."""
        return [value for _, value in series(self.timings[-RECENT:], name)]

    def total(self, name: str) -> float:
        """Return the sum of a timing over all steps."""
        return math.fsum(self.timing(name))

    def seconds_per_step(self) -> float | None:
        """Return the mean seconds of recent steps, evaluations included."""
        recent = [row for row in self.timings[-RECENT:] if row["step"]]
        return statistics.fmean(map(seconds_of, recent)) if recent else None

    def seconds(self) -> float:
        """Return the seconds of all steps, those before a resume included."""
        return math.fsum(map(seconds_of, self.timings))


def seconds_of(timing: Row) -> float:
    """Return the seconds that a step took; what is done beside it, ahead of later steps, is not."""
    spent = [timing.get(f"{phase}_s") for phase in OWN_PHASES]
    return math.fsum(value for value in spent if isinstance(value, int | float))
