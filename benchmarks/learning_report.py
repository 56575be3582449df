"""Runs' records -> tables, a summary that JSON can hold, and a plot.

The measure of a run is the area under its held-out score: over rollouts, and over the judge tokens
that each run of the arm and of the baseline spent; medians over seeds are shown.

Differences are paired: the same seeds and the same held-out prompts, against one arm. Intervals are
percentiles of a bootstrap that draws seeds and held-out prompts; of few seeds it knows too little,
and is then too narrow.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

BASELINE = "ruler std"
CEILING = "oracle"
RESAMPLES = 4000
TOKEN_PLACES = 33  # at which the curve over tokens is read
SHOWN = 4  # columns of held-out scores after the first
ENDS = 5  # steps that the entropy and the training score at either end are averaged over

Array = NDArray[np.float64]
Record = dict[str, Any]
Runs = Mapping[str, Mapping[int, Record]]  # by arm, then seed
Interval = tuple[float, float, float]


def by_arm(records: Sequence[Record], arms: Sequence[str]) -> dict[str, dict[int, Record]]:
    """Return the records in the order of `arms`; arms without any are left out."""
    found = {arm: {r["seed"]: r for r in records if r["arm"] == arm} for arm in arms}
    return {arm: runs for arm, runs in found.items() if runs}


def looked_at(run: Record) -> list[int]:
    """Return the steps after which the held-out prompts were tried."""
    return [each["step"] for each in run["looks"]]


def scores_LP(run: Record) -> Array:
    """Return held-out scores by look and prompt."""
    return np.array([each["scores"] for each in run["looks"]])


def tokens_L(run: Record) -> Array:
    """Judge tokens spent up to each look."""
    spent = np.cumsum([0.0, *(each["tokens"] for each in run["steps"])])
    return np.asarray(spent[looked_at(run)])


def at_tokens_P(run: Record, tokens: float) -> Array:
    """Return scores by prompt once so many tokens were spent, on straight lines between looks."""
    columns = scores_LP(run).T
    return np.array([np.interp(tokens, tokens_L(run), column) for column in columns])


def area_over_tokens_P(run: Record, tokens: float) -> Array:
    """Average scores by prompt over the first `tokens` judge tokens: the area under the curve."""
    places = np.linspace(0, tokens, TOKEN_PLACES)
    return np.asarray(np.mean([at_tokens_P(run, place) for place in places], axis=0))


def mean_P(run: Record) -> Array:
    """Average scores by prompt over the run, first look left out: the area under the curve."""
    return np.asarray(scores_LP(run)[1:].mean(axis=0))


def bootstrap(values_SP: Array, resamples: int = RESAMPLES) -> Interval:
    """Return mean and 95% interval by seed and prompt; one seed alone gives only prompts' luck.

    Seeds are drawn with replacement, and so are prompts, the same ones for all seeds of a draw.
    """
    rng = np.random.default_rng(0)
    num_seeds, num_prompts = values_SP.shape
    seeds_RS = rng.integers(num_seeds, size=(resamples, num_seeds))
    prompts_RP = rng.integers(num_prompts, size=(resamples, num_prompts))
    drawn_RSP = values_SP[seeds_RS[:, :, None], prompts_RP[:, None, :]]
    low, high = np.percentile(drawn_RSP.mean(axis=(1, 2)), [2.5, 97.5])
    return float(values_SP.mean()), float(low), float(high)


def against(runs: Runs, arm: str, what: Any) -> Interval | None:
    """Return the paired difference of `what(run)`, an array by prompt, to the baseline."""
    seeds = sorted(runs[arm].keys() & runs.get(BASELINE, {}).keys())
    if arm == BASELINE or not seeds:
        return None
    mine, theirs = runs[arm], runs[BASELINE]
    return bootstrap(np.array([what(mine[seed]) - what(theirs[seed]) for seed in seeds]))


def budget(runs: Runs, arm: str) -> float:
    """Return the tokens that every run of an arm and of the baseline spends."""
    both = [*runs[arm].values(), *runs.get(BASELINE, {}).values()]
    return float(min(tokens_L(run)[-1] for run in both))


def summarise(runs: Runs) -> dict[str, Any]:
    """Return all numbers of the tables, by arm."""
    return {"baseline": BASELINE, "arms": {arm: _arm(runs, arm) for arm in runs}}


def _arm(runs: Runs, arm: str) -> dict[str, Any]:
    its = list(runs[arm].values())
    tokens = budget(runs, arm)
    steps = looked_at(its[0])
    area = partial(area_over_tokens_P, tokens=tokens)
    held_out = np.mean([scores_LP(run).mean(axis=1) for run in its], axis=0)
    groups = sum(step["groups"] for run in its for step in run["steps"])
    return {
        "seeds": sorted(runs[arm]),
        "held_out": dict(zip(map(str, steps), held_out.round(4).tolist(), strict=True)),
        "last_by_seed": [round(float(scores_LP(run)[-1].mean()), 4) for run in its],
        "lr": its[0]["lr"],
        "over_rollouts": _median([mean_P(run) for run in its]),
        "equal_tokens": round(tokens),
        "over_tokens": None if arm == CEILING else _median([area(run) for run in its]),
        "against_baseline": {
            "last": against(runs, arm, lambda run: scores_LP(run)[-1]),
            "over_rollouts": against(runs, arm, mean_P),
            "over_tokens": None if arm == CEILING else against(runs, arm, area),
        },
        "signal_share": sum(s["signal"] for run in its for s in run["steps"]) / groups,
        "mixed_share": sum(s["mixed"] for run in its for s in run["steps"]) / groups,
        "failed_groups": sum(s["failed"] for run in its for s in run["steps"]),
        "entropy_start": _mean([[s["entropy"] for s in run["steps"][:ENDS]] for run in its]),
        "entropy_end": _mean([[s["entropy"] for s in run["steps"][-ENDS:]] for run in its]),
        "right_end": _mean([[s["right"] for s in run["steps"][-ENDS:]] for run in its]),
        "calls_per_group": sum(s["calls"] for run in its for s in run["steps"]) / groups,
        "tokens_per_run": _mean([tokens_L(run)[-1:] for run in its]),
        "wall_s": _mean([[run["wall_s"]] for run in its]),
    }


def _median(values_SP: Sequence[Array]) -> float:
    """Return the median over seeds of the mean over prompts."""
    return round(float(np.median([np.mean(each) for each in values_SP])), 4)


def _mean(values: Sequence[Any]) -> float:
    return round(float(np.mean(values)), 4)


def show(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what was learnt, by steps and by tokens, and what it took."""
    console = console or Console(width=170)
    arms: Mapping[str, Any] = summary["arms"]
    console.print(_learnt(arms), _spent(arms))


def _learnt(arms: Mapping[str, Any]) -> Table:
    looks = list(next(iter(arms.values()))["held_out"])
    steps = looks[:: -(-(len(looks) - 1) // SHOWN)]
    title = f"held-out score; in brackets against {BASELINE}, 95% paired bootstrap"
    columns = ["lr", "seeds", *(f"step {step}" for step in steps), "last − base",
               "area over rollouts", "over equal judge tokens"]  # fmt: skip
    table = _table(title, columns)
    for arm, its in arms.items():
        differences = its["against_baseline"]
        table.add_row(
            arm,
            f"{its['lr']:g}",
            str(len(its["seeds"])),
            *(f"{its['held_out'][step]:.3f}" for step in steps),
            interval(differences["last"]),
            f"{its['over_rollouts']:.3f} {interval(differences['over_rollouts'])}",
            "free"
            if its["over_tokens"] is None
            else f"{its['equal_tokens'] / 1e3:,.0f}k: {its['over_tokens']:.3f}"
            f" {interval(differences['over_tokens'])}",
        )
    return table


def _spent(arms: Mapping[str, Any]) -> Table:
    columns = ["signal", "mixed", "entropy start", "end", "right at end", "calls a group",
               "tokens a run", "failed", "s a run"]  # fmt: skip
    table = _table("groups with signal, entropy of answers (nats), what was spent", columns)
    for arm, its in arms.items():
        table.add_row(
            arm, f"{its['signal_share']:.2f}", f"{its['mixed_share']:.2f}",
            f"{its['entropy_start']:.2f}", f"{its['entropy_end']:.2f}", f"{its['right_end']:.2f}",
            f"{its['calls_per_group']:.2f}", f"{its['tokens_per_run'] / 1e3:,.0f}k",
            str(its["failed_groups"]), f"{its['wall_s']:.0f}",
        )  # fmt: skip
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("arm")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def interval(found: Interval | None) -> str:
    return "" if found is None else f"({found[0]:+.2f}: {found[1]:+.2f} to {found[2]:+.2f})"
