"""Runs' records -> a picture: held-out score over steps and judge tokens, entropy over steps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.learning_report import Array, Record, Runs, looked_at, scores_LP, tokens_L
from benchmarks.picture import picture, strip

if TYPE_CHECKING:  # matplotlib takes a second
    from matplotlib.axes import Axes

SIZE = (13, 4.6)  # inches
COLORS = {
    "ruler": "tab:red",
    "default": "tab:blue",
    "short": "tab:purple",
    "4 passes": "tab:green",
    "best of": "tab:orange",
    "oracle": "tab:gray",
}

Values = Callable[[Record], Array]


def draw(runs: Runs, png: Path) -> None:
    """Write a PNG: a thin line a run, a thick one for their mean."""
    with picture(png, SIZE) as figure:
        by_step, by_token, below = figure.subplots(1, 3)
        for arm, its in runs.items():
            records = list(its.values())
            draw_lines(by_step, arm, records, steps, held_out)
            if arm != "oracle":  # nobody is paid for the truth
                draw_lines(by_token, arm, records, lambda run: tokens_L(run) / 1e3, held_out)
            draw_lines(below, arm, records, steps, entropies)
        labels = (("step", "held-out score"), ("judge tokens, thousands", "held-out score"),
                  ("step", "entropy of held-out answers, nats"))  # fmt: skip
        for axes, (x, y) in zip((by_step, by_token, below), labels, strict=True):
            axes.set_xlabel(x)
            axes.set_ylabel(y)
            axes.set_ylim(bottom=0)
            strip(axes)
        named = by_step.get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=len(runs), frameon=False)


def draw_lines(axes: "Axes", arm: str, records: Sequence[Record], x: Values, y: Values) -> None:
    """Draw one arm's runs and their mean, at the mean place of each look."""
    name, _, scheme = arm.rpartition(" ")  # dashed: advantages divided by the group's sd
    color, style = COLORS.get(name or arm, "black"), "--" if scheme == "std" else "-"
    for run in records:
        axes.plot(x(run), y(run), color=color, linewidth=0.6, alpha=0.4, linestyle=style)
    places = np.mean([x(run) for run in records], axis=0)
    means = np.mean([y(run) for run in records], axis=0)
    axes.plot(places, means, color=color, linewidth=2, linestyle=style, marker="o", markersize=4,
              label=arm)  # fmt: skip


def steps(run: Record) -> Array:
    return np.array(looked_at(run), dtype=float)


def held_out(run: Record) -> Array:
    return np.asarray(scores_LP(run).mean(axis=1))


def entropies(run: Record) -> Array:
    return np.array([each["entropy"] for each in run["looks"]])
