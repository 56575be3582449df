"""Runs -> a picture: score over steps, with a color for each staleness."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.picture import share_over_steps

COLORS = {"K = 0": "tab:gray", "K = 1": "tab:blue", "K = 4": "tab:orange"}


def draw(runs: Sequence[Mapping[str, Any]], png: Path) -> None:
    """Write a PNG: a thin line a run, a thick one for an arm's mean, dashed without correction."""
    with share_over_steps(png, "share of right answers") as axes:
        for arm in dict.fromkeys(run["arm"] for run in runs):
            staleness, _, without = arm.partition(",")
            own = [run for run in runs if run["arm"] == arm]
            style: dict[str, Any] = {
                "color": COLORS[staleness],
                "linestyle": "--" if without else "-",
            }
            steps = [each["step"] for each in own[0]["looks"]]
            lines = [[each["score"] for each in run["looks"]] for run in own]
            for line in lines:
                axes.plot(steps, line, linewidth=0.5, alpha=0.4, **style)
            means = [statistics.fmean(values) for values in zip(*lines, strict=True)]
            label = f"{arm}, mean of {len(own)}"
            axes.plot(steps, means, linewidth=2, marker="o", markersize=4, label=label, **style)
