"""Runs -> a picture: score over steps, with a color for each staleness."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIZE = (7, 4.2)  # inches
DPI = 120
COLORS = {"K = 0": "tab:gray", "K = 1": "tab:blue", "K = 4": "tab:orange"}


def draw(runs: Sequence[Mapping[str, Any]], png: Path) -> None:
    """Write a PNG: a thin line a run, a thick one for an arm's mean, dashed without correction."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes = figure.subplots()
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
        axes.set_xlabel("step")
        axes.set_ylabel("share of right answers")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="best", frameon=False)
        png.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(png, format="png", metadata={"Software": None})
