"""Runs -> a picture: held-out score over steps, with a color for each trainer."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.picture import share_over_steps

COLORS = {"podium-train": "tab:blue", "TRL": "tab:orange"}


def held_out(run: Mapping[str, Any]) -> list[float]:
    """Return the held-out score at each look."""
    return [statistics.fmean(each["scores"]) for each in run["looks"]]


def draw(runs: Sequence[Mapping[str, Any]], png: Path) -> None:
    """Write a PNG: a thin line a run, a thick one for the mean over seeds."""
    with share_over_steps(png, "held-out score") as axes:
        for trainer, color in COLORS.items():
            own = [run for run in runs if run["trainer"] == trainer]
            steps = [each["step"] for each in own[0]["looks"]]
            lines = [held_out(run) for run in own]
            for line in lines:
                axes.plot(steps, line, color=color, linewidth=0.6, alpha=0.5)
            means = [statistics.fmean(values) for values in zip(*lines, strict=True)]
            axes.plot(steps, means, color=color, linewidth=2, marker="o", markersize=4,
                      label=f"{trainer}, mean of {len(own)}")  # fmt: skip
