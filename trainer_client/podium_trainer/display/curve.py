"""Draw learning curves: `python -m podium_trainer.display.curve RUN [RUN ...] --out curve.png`.

One run is drawn as held-out score, win rate with its 95% interval, reward with its spread, and
share of groups with signal. Several runs, such as one recipe with several seeds, are a thin line
each, their mean, and a band from the lowest to the highest.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from podium_trainer.display.history import Series, series
from podium_trainer.display.text import BLOCKS
from podium_trainer.evaluation.win_rate import interval
from podium_trainer.records.metrics import Row, read_rows

if TYPE_CHECKING:  # matplotlib takes a second to import
    from matplotlib.axes import Axes

SIZE = (8, 6)  # inches
DPI = 120
HELD_OUT, WIN_RATE, REWARD, SIGNAL = "tab:green", "tab:orange", "tab:blue", "tab:gray"
MOST_MARKERS = 40
TEXT_HEIGHT = 6
LEAST_TEXT_WIDTH = 40


class CurveError(Exception):
    """There is nothing to draw; the message is one line that says why."""


def draw_curve(run_folders: Sequence[Path], png: Path) -> None:
    """Draw the `metrics.jsonl` of the runs; the same files give the same bytes.

    Raises:
        CurveError: If a folder holds no step.
    """
    runs = [read_rows(folder / "metrics.jsonl") for folder in run_folders]
    for folder, rows in zip(run_folders, runs, strict=True):
        if not rows:
            raise CurveError(f"{folder}: metrics.jsonl has no step")
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        spread = " ± spread within groups" if len(runs) == 1 else ""
        draw_lines(axes, runs, "reward_mean", f"reward{spread}", REWARD, ".")
        if spread:
            draw_spread(axes, runs[0])
        draw_lines(axes, runs, "held_out", "held-out score", HELD_OUT, "o")
        draw_win_rate(axes, runs)
        draw_lines(below, runs, "signal_share", "", SIGNAL, ".")
        axes.set_title(title(run_folders), parse_math=False)
        for each, name in ((axes, "score, win rate and reward"), (below, "groups with signal")):
            each.set_ylim(-0.03, 1.03)
            each.set_ylabel(name)
            each.grid(alpha=0.25)
            each.spines[["top", "right"]].set_visible(False)
        below.yaxis.set_major_formatter(PercentFormatter(1.0))
        below.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        below.set_xlabel("step")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", frameon=False)
        figure.savefig(png, format="png", metadata={"Software": None})


def draw_lines(
    axes: "Axes", runs: Sequence[Sequence[Row]], name: str, label: str, color: str, marker: str
) -> None:
    """Draw a metric of one run, or of several: thin lines, their mean and their range."""
    lines = [points for rows in runs if (points := series(rows, name))]
    if not lines:
        return
    bold = lines[0]
    if len(lines) > 1:
        for points in lines:
            axes.plot(*zip(*points, strict=True), color=color, linewidth=0.7, alpha=0.45)
        common = on_common_steps(lines)
        bold = [(step, statistics.fmean(values)) for step, values in common]
        steps, values = [step for step, _ in common], [values for _, values in common]
        axes.fill_between(
            steps, [min(v) for v in values], [max(v) for v in values],
            color=color, alpha=0.15, linewidth=0,
        )  # fmt: skip
        label = f"{label}, mean of {len(lines)} runs" if label else label
    steps, means = [step for step, _ in bold], [value for _, value in bold]
    axes.plot(
        steps, means, color=color, linewidth=1.8, markersize=5, label=label or None,
        marker=marker if len(bold) <= MOST_MARKERS else None,
    )  # fmt: skip


def draw_win_rate(axes: "Axes", runs: Sequence[Sequence[Row]]) -> None:
    """Draw the win rate of the runs over the line of .5, of one run with its 95% interval."""
    if not any(series(rows, "win_rate") for rows in runs):
        return
    axes.axhline(0.5, color=WIN_RATE, linewidth=0.8, linestyle="--", alpha=0.7)
    draw_lines(axes, runs, "win_rate", "win rate against step 0", WIN_RATE, "s")
    if len(runs) > 1:
        return
    stderrs, prompts = (dict(series(runs[0], f"win_rate_{n}")) for n in ("stderr", "prompts"))
    rates = [(step, rate) for step, rate in series(runs[0], "win_rate") if step in stderrs]
    bands = [interval(rate, stderrs[step], int(prompts[step])) for step, rate in rates]
    axes.fill_between(
        [step for step, _ in rates], [low for low, _ in bands], [high for _, high in bands],
        color=WIN_RATE, alpha=0.15, linewidth=0,
    )  # fmt: skip


def draw_spread(axes: "Axes", rows: Sequence[Row]) -> None:
    """Draw the standard deviation of rewards within groups as a band around their mean."""
    means, spreads = dict(series(rows, "reward_mean")), dict(series(rows, "reward_std"))
    steps = sorted(means.keys() & spreads.keys())
    low = [means[step] - spreads[step] for step in steps]
    high = [means[step] + spreads[step] for step in steps]
    axes.fill_between(steps, low, high, color=REWARD, alpha=0.15, linewidth=0)


def on_common_steps(lines: Sequence[Series]) -> list[tuple[int, list[float]]]:
    """Return the steps that all lines have, with the value of each line.

    A mean over fewer lines would jump where a line ends.
    """
    values = [dict(points) for points in lines]
    steps = sorted(set.intersection(*(set(each) for each in values)))
    return [(step, [each[step] for each in values]) for step in steps]


def title(run_folders: Sequence[Path]) -> str:
    """Return task and model of the runs, as their configs name them."""
    names = list(dict.fromkeys(map(run_title, run_folders)))
    count = f" · {len(run_folders)} runs" if len(run_folders) > 1 else ""
    return " / ".join(names) + count


def run_title(folder: Path) -> str:
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
        return f"{config['task']['name']} · {Path(config['model']['path']).name}"
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return folder.name


def draw_run(out: Path) -> str | None:
    """Draw a run's `curve.png` into its folder; return a warning if that fails."""
    try:
        draw_curve([out], out / "curve.png")
    except Exception as error:  # noqa: BLE001 - a picture must never fail a run
        return f"no curve was drawn: {error}"
    return None


def text_curve(points: Series, width: int, name: str = "held-out score") -> list[str]:
    """Draw values over steps in block characters, with straight lines between evaluations.

    Returns:
        Lines of at most `width` characters; none for fewer than two points or a small width.
    """
    room = width - 8
    points = sorted(dict(points).items())
    if len(points) < 2 or room < LEAST_TEXT_WIDTH - 8:
        return []
    first, last = points[0][0], points[-1][0]
    steps = [first + (last - first) * column / (room - 1) for column in range(room)]
    top = max(max(value for _, value in points), 0.01)
    eighths = [round(8 * TEXT_HEIGHT * max(0.0, between(points, s)) / top) for s in steps]
    lines = []
    for row in reversed(range(TEXT_HEIGHT)):
        label = f"{top:.3f}" if row == TEXT_HEIGHT - 1 else "0" if row == 0 else ""
        filled = "".join(block(each - 8 * row) for each in eighths)
        lines.append(f"{label:>6} ┤{filled}".rstrip())
    ends = f"step {first}"
    lines.append(f"{'':8}{ends}{last:>{room - len(ends)}}")
    return [name, *lines]


def block(eighths: int) -> str:
    return " " if eighths <= 0 else BLOCKS[min(8, eighths) - 1]


def between(points: Series, step: float) -> float:
    """Interpolate the value at a step from its neighbours."""
    for (before, low), (after, high) in pairwise(points):
        if step <= after:
            return low + (high - low) * (step - before) / (after - before)
    return points[-1][1]


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m podium_trainer.display.curve",
        description="Draw the learning curve of runs.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, default=Path("curve.png"), help="the PNG to write")
    options = parser.parse_args(arguments)
    try:
        draw_curve(options.runs, options.out)
    except (CurveError, OSError, ValueError) as error:
        sys.stderr.write(f"curve: {error}\n")
        return 1
    sys.stdout.write(f"{options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
