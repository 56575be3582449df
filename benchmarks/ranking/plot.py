"""Curves -> one picture: quality against tokens, and whether chances hold."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("Agg")

_FIXED = ("pass", "passes")
_COLUMNS = 2
_TOKENS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
_COLOURS = 10  # of matplotlib's usual cycle


def draw(sections: dict[str, Any], path: Path) -> None:
    """Draw one panel for each kind of curve that there is, from the JSON of all sections."""
    curves = {k: v for section in sections.values() for k, v in section["curves"].items()}
    drawers = {"targets": _targets, "mix": _mix, "methods": _methods, "reliability": _reliability}
    there = [name for name in drawers if name in curves]
    if not there:
        return
    num_rows = -(-len(there) // _COLUMNS)
    figure = Figure(figsize=(5.2 * _COLUMNS, 4.2 * num_rows), layout="constrained")
    for index, name in enumerate(there, start=1):
        drawers[name](figure.add_subplot(num_rows, _COLUMNS, index), curves)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _targets(axes: Axes, curves: dict[str, Any]) -> None:
    for key, ceiling in curves["ceilings"].items():
        axes.axhline(ceiling, color="0.85", lw=0.8, zorder=0)
        axes.annotate(f"ceiling of {key}", (0.99, ceiling), xycoords=("axes fraction", "data"),
                      ha="right", va="bottom", fontsize=6, color="0.5")  # fmt: skip
    _arms(axes, [each for each in curves["targets"] if not _is_adaptive(each["label"])])
    axes.set_title("truth sd = noise sd")


def _mix(axes: Axes, curves: dict[str, Any]) -> None:
    _arms(axes, curves["mix"])
    axes.set_title("a third each easy, hard, no signal")


def _arms(axes: Axes, arms: list[Any]) -> None:
    fixed = [each for each in arms if each["label"].endswith(_FIXED)]
    axes.plot(
        [e["tokens"]["value"] for e in fixed], [e["tau"]["value"] for e in fixed], color="C0", lw=1
    )
    for index, each in enumerate(arms):
        is_adaptive = _is_adaptive(each["label"])
        colour = "C3" if each["label"] == "RULER" else "C2" if is_adaptive else "C0"
        _point(axes, each["tokens"], each["tau"], colour)
        place = (6, 9 - 9 * (index % 2)) if is_adaptive else (4, -9)
        axes.annotate(each["label"], (each["tokens"]["value"], each["tau"]["value"]), fontsize=7,
                      xytext=place, textcoords="offset points")  # fmt: skip
    axes.margins(0.12)
    axes.set(xlabel="judge tokens a group of 8", ylabel="Kendall's tau with the truth")


def _is_adaptive(label: str) -> bool:
    return label != "RULER" and not label.endswith(_FIXED)


def _methods(axes: Axes, curves: dict[str, Any]) -> None:
    by_label: dict[str, list[Any]] = {}
    for each in curves["methods"]:
        by_label.setdefault(each["label"], []).append(each)
    for index, (label, points) in enumerate(by_label.items()):
        points.sort(key=lambda each: each["tokens"]["value"])
        axes.plot([e["tokens"]["value"] for e in points], [e["tau"]["value"] for e in points],
                  color=f"C{index}", lw=1, marker="o", ms=3, label=label,
                  linestyle="-" if index < _COLOURS else ":")  # fmt: skip
    axes.legend(fontsize=6)
    axes.set_xscale("log")
    limits = axes.get_xlim()
    axes.set_xticks(_TOKENS, [f"{each:,}" for each in _TOKENS], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlim(limits)
    axes.set(title=curves["methods_title"], xlabel="judge tokens a group", ylabel="Kendall's tau")


def _reliability(axes: Axes, curves: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color="0.8", lw=1)
    bins = curves["reliability"]
    axes.plot(
        [each["predicted"] for each in bins], [each["frequency"] for each in bins], "o-", ms=4
    )
    axes.set(title="win probability, 4 passes", xlabel="predicted chance to be better",
             ylabel="how often it is", aspect="equal")  # fmt: skip


def _point(axes: Axes, x: dict[str, float], y: dict[str, float], colour: str) -> None:
    off = [[y["value"] - y["low"]], [y["high"] - y["value"]]]
    axes.errorbar(x["value"], y["value"], yerr=off, fmt="o", ms=4, color=colour, lw=1)
