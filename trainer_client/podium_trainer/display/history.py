"""All steps of a run so far: what a resumed run goes on counting from, and what curves show."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podium_trainer.records.metrics import Row, read_rows

RECENT = 50
Series = list[tuple[int, float]]


def series(rows: Sequence[Row], name: str) -> Series:
    """(step, value) of the rows that have a finite number of this name."""
    points = [(row["step"], row.get(name)) for row in rows]
    return [
        (int(step), float(value))
        for step, value in points
        if isinstance(step, int) and isinstance(value, int | float) and math.isfinite(value)
    ]


@dataclass
class History:
    """Rows as the run's two files hold them.

    Attributes:
        metrics, timings: one row per step, in order.
    """

    metrics: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, out: Path) -> "History":
        """What a run's folder holds; nothing for a new run."""
        metrics, timings = read_rows(out / "metrics.jsonl"), read_rows(out / "timings.jsonl")
        return cls([*metrics], [*timings])

    def add(self, step: int, row: Row, timing: Row) -> None:
        self.metrics.append({"step": step} | dict(row))
        self.timings.append({"step": step} | dict(timing))

    @property
    def step(self) -> int:
        """The last one done."""
        return int(self.now("step") or 0)

    def now(self, name: str) -> float | None:
        """A metric of the last step; None if it had none."""
        points = series(self.metrics[-1:], name)
        return points[0][1] if points else None

    def values(self, name: str) -> list[float]:
        """A metric's numbers, oldest first."""
        return [value for _, value in series(self.metrics, name)]

    def taken(self, name: str) -> list[float]:
        """A timing of the steps in which it happened at all."""
        return [value for _, value in series(self.timings, name) if value]

    def total(self, name: str) -> float:
        """A timing's sum over all steps."""
        return math.fsum(self.taken(name))

    def seconds_per_step(self) -> float | None:
        """The mean of recent steps, evaluations included."""
        recent = [row for row in self.timings[-RECENT:] if row["step"]]
        return statistics.fmean(map(seconds_of, recent)) if recent else None

    def seconds(self) -> float:
        """What all steps took, over every session of the run."""
        return math.fsum(map(seconds_of, self.timings))


def seconds_of(timing: Row) -> float:
    """A step's seconds over all phases."""
    return math.fsum(
        value
        for name, value in timing.items()
        if name.endswith("_s") and not name.endswith("_per_s") and isinstance(value, int | float)
    )
