"""Runs -> the mean win rate of each arm with its interval over runs, and a picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.judged_only.runs import ARMS, Record
from benchmarks.picture import share_over_steps
from podium_trainer.evaluation.win_rate import interval

SHARE = "win rate against step 0, by another judge"
COLORS = {"preference": "tab:orange", "random": "tab:gray"}
NAMES = {"preference": "rewards by a judge alone", "random": "random rewards"}


def label(run: Record) -> str:
    return f"{NAMES[run['arm']]}, seed {run['seed']}"


def mean_over_runs(runs: Sequence[Record], arm: str) -> list[Record]:
    """Average an arm's win rates at each step, with the 95% interval over runs.

    A run is one observation, so that the interval holds what differs between runs; with a single
    run it is as wide as can be.
    """
    own = [run["win_rates"] for run in runs if run["arm"] == arm]
    means = []
    for rates in zip(*own, strict=True):
        values = [each["win_rate"] for each in rates]
        mean, low, high = statistics.fmean(values), 0.0, 1.0
        if len(values) > 1:
            stderr = statistics.stdev(values) / len(values) ** 0.5
            low, high = interval(mean, stderr, len(values))
        means.append({
            "step": rates[0]["step"], "win_rate": mean, "runs": len(values),
            "low": low, "high": high,
        })  # fmt: skip
    return means


def draw(runs: Sequence[Record], png: Path) -> None:
    """Write a PNG: a thin line a run, a thick one with a band for the mean of each arm."""
    with share_over_steps(png, SHARE, size=(8, 4.6), legend="lower left") as axes:
        axes.axhline(0.5, color="black", linewidth=0.8, linestyle="--")
        for arm in (arm for arm in ARMS if any(run["arm"] == arm for run in runs)):
            color, means = COLORS[arm], mean_over_runs(runs, arm)
            steps = [each["step"] for each in means]
            for run in (run for run in runs if run["arm"] == arm):
                rates = [each["win_rate"] for each in run["win_rates"]]
                axes.plot(steps, rates, color=color, linewidth=0.7, alpha=0.6)
            axes.plot(steps, [each["win_rate"] for each in means], "o-", color=color, linewidth=2,
                      markersize=4, label=f"{NAMES[arm]}, mean of {means[0]['runs']}")  # fmt: skip
            lows, highs = ([each[name] for each in means] for name in ("low", "high"))
            axes.fill_between(steps, lows, highs, color=color, alpha=0.15, linewidth=0)
        axes.set_xticks(sorted({each["step"] for run in runs for each in run["win_rates"]}))
