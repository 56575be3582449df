"""Figures -> one picture: squared cosine per 1,000 judge tokens by stage of training and arm."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("Agg")
SHOWN = "squared per 1k tokens"
STAGES = "addition-"


def draw(sections: dict[str, Any], path: Path) -> None:
    """Draw one panel for each judge that was asked about stages of training."""
    panels = {}
    for judge, section in sections.items():
        if lines := _lines(section["tables"]):
            panels[judge] = lines
    if not panels:
        return
    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    for index, (judge, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), index)
        _panel(axes, lines)
        axes.set_title(judge)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _lines(tables: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return by arm the share of right answers and the figure of each stage, judge warmed up."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for title, rows in tables.items():
        if not title.startswith(STAGES):
            continue
        share = float(title.rpartition("good ")[2].rstrip(")"))
        for row in rows:
            if row["judge"] == "warmed up" and row[SHOWN] is not None and _is_shown(row):
                lines.setdefault(row["arm"], []).append((share, row[SHOWN]))
    return {arm: sorted(points) for arm, points in lines.items()}


def _is_shown(row: dict[str, Any]) -> bool:
    """Choose one line an arm: RULER as its trainer uses it, the service by its own advantages."""
    return bool(row["advantages"] == ("group_std" if row["arm"] == "RULER" else "mean")) and (
        not row["arm"].startswith("RULER,")
    )


def _panel(axes: Axes, lines: dict[str, list[tuple[float, float]]]) -> None:
    for index, (arm, points) in enumerate(lines.items()):
        shares, values = zip(*points, strict=True)
        is_ruler = arm == "RULER"
        axes.plot(shares, values, color="k" if is_ruler else f"C{index % 10}", label=arm,
                  lw=2 if is_ruler else 1, marker="o", ms=3)  # fmt: skip
    axes.legend(fontsize=6)
    axes.set(xlabel="share of right answers", ylabel="squared cosine per 1,000 judge tokens")
    axes.set_yscale("log")
