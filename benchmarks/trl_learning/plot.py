"""Runs -> a picture: held-out score over steps, with a color for each trainer."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIZE = (7, 4.2)  # inches
DPI = 120
COLORS = {"podium-train": "tab:blue", "TRL": "tab:orange"}


def held_out(run: Mapping[str, Any]) -> list[float]:
    """Return the held-out score at each look."""
    return [statistics.fmean(each["scores"]) for each in run["looks"]]


def draw(runs: Sequence[Mapping[str, Any]], png: Path) -> None:
    """Write a PNG: a thin line a run, a thick one for the mean over seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes = figure.subplots()
        for trainer, color in COLORS.items():
            own = [run for run in runs if run["trainer"] == trainer]
            steps = [each["step"] for each in own[0]["looks"]]
            lines = [held_out(run) for run in own]
            for line in lines:
                axes.plot(steps, line, color=color, linewidth=0.6, alpha=0.5)
            means = [statistics.fmean(values) for values in zip(*lines, strict=True)]
            axes.plot(steps, means, color=color, linewidth=2, marker="o", markersize=4,
                      label=f"{trainer}, mean of {len(own)}")  # fmt: skip
        axes.set_xlabel("step")
        axes.set_ylabel("held-out score")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="best", frameon=False)
        png.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(png, format="png", metadata={"Software": None})
