"""Render a card as one HTML page that needs no script and no network.

Tables are HTML, and plots are inline SVG in pixels, which the template only draws.
"""

from collections.abc import Callable, Sequence
from math import log2
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from podium_service.evaluation.advice.passes import PassesAdvice
from podium_service.evaluation.advice.prompts import PromptTrial
from podium_service.evaluation.card import Card
from podium_service.scoring.bootstrap import Measure

WIDTH, HEIGHT = 460, 240
# The frame of a plot has its edges here.
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, WIDTH - 12, 12, HEIGHT - 40

ROWS = {
    "accuracy": ("Accuracy", "pairs whose labels differ, in the right order; a tie is not right"),
    "top1": ("Top 1", "chance that one of the judge's best has the best label"),
    "auc": ("AUC", "chance that the better of a pair scores higher; ties count half"),
    "tau_b": ("Kendall's tau", "1 is the order of the labels, 0 is chance, -1 the reverse"),
    "order_flips": ("Order flips", "pairs that a pass and its reverse order differently"),
    "retest_tau": ("Test-retest", "Kendall's tau between two halves of the passes"),
    "ties": ("Ties", "pairs within a pass that get the same score"),
    "reliability": ("Reliability", "share of the score variance that is signal, as returned"),
    "correlation": ("Length, correlation", "of score and log length in a group, at equal labels"),
    "slope": ("Length, slope", "score per unit of log length; times .69 for twice the length"),
    "malformed": ("Malformed replies", "calls whose reply was no verdict"),
    "latency_p50_s": ("Latency, median", "seconds of one call"),
    "latency_p95_s": ("Latency, 95%", "seconds of one call"),
    "calls": ("Calls", "per group"),
    "prompt_tokens": ("Prompt tokens", "per group"),
    "cached_tokens": ("of these cached", "per group"),
    "completion_tokens": ("Completion tokens", "per group"),
    "cost_usd": ("Cost", "US dollars per group"),
}
PROMPTS_COLUMNS = ("Prompt", "AUC", "Ahead of the other", "Tokens of a group")
PASSES_COLUMNS = ("Rollouts cost, in passes", "Best passes", "Reliability", "In the judges file")
COLUMNS = {"one_pass": "one pass alone", "all_passes": "all passes", "reward": "reward returned"}


# A dot of a plot: x, y with its interval, the number of its colour, and its title.
Point = tuple[float, Measure, int, str]


def render(card: Card) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("podium_service.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_number, "measure": format_measure}
    plots = (_plot_agreement(card), _plot_slots(card), _plot_lengths(card))
    return environment.get_template("card.html.jinja").render(
        card=card,
        rows=ROWS,
        conclusion=conclude(card),
        columns=COLUMNS,
        passes=[describe_advice(advice) for advice in card.passes],
        passes_columns=PASSES_COLUMNS,
        prompts=[describe_trial(trial, card.best_prompt) for trial in card.prompts],
        prompts_columns=PROMPTS_COLUMNS,
        plots=[plot for plot in plots if plot],
        size=(WIDTH, HEIGHT),
        frame=(_LEFT, _RIGHT, _TOP, _BOTTOM),
    )


def format_number(value: float | None) -> str:
    """Format a number for a table; `–` for None.

    It has no decimals from 100 up, two significant digits below .01, and three decimals between.
    """
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def format_measure(measure: Measure) -> str:
    """Return `0.812 [0.790, 0.834]`; the reason where there is no value."""
    if measure.value is None:
        return f"– ({measure.reason})"
    if measure.low is None:
        return format_number(measure.value)
    value, low, high = map(format_number, (measure.value, measure.low, measure.high))
    return f"{value} [{low}, {high}]"


def conclude(card: Card) -> str:
    """Return in a sentence whether the judge's rewards follow the labels; empty without any."""
    auc = card.agreement["auc"]["reward"]
    if auc.value is None:
        return ""
    share = f"in {format_measure(auc)} of pairs (a coin: 0.5)"
    found = f"the better of two attempts gets the higher reward {share}."
    if auc.low is None or auc.high is None or auc.low <= 0.5 <= auc.high:
        return f"No signal is shown: {found} Do not train on it as it is."
    if auc.high < 0.5:
        return f"The judge prefers the worse attempts: {found}"
    return f"The judge has a signal: {found}"


def describe_advice(advice: PassesAdvice) -> tuple[str, ...]:
    """Return the cells of one row under `PASSES_COLUMNS`."""
    cost, reliability = f"{advice.rollout_cost:g}", format_number(advice.reliability)
    return cost, str(advice.passes), reliability, advice.setting


def describe_trial(trial: PromptTrial, best: str | None) -> list[str]:
    """Return the cells of one row under `PROMPTS_COLUMNS`."""
    name = f"{trial.prompt} (chosen)" if trial.prompt == best else trial.prompt
    return [name, *map(format_measure, (trial.auc, trial.ahead, trial.tokens))]


def _plot_agreement(card: Card) -> dict[str, Any] | None:
    """Plot four measures side by side, each for one pass, for all passes and for the reward."""
    points = [
        (slot + 0.22 * (colour - 1), measure, colour, f"{ROWS[name][0]}, {COLUMNS[of]}")
        for slot, (name, values) in enumerate(card.agreement.items())
        for colour, (of, measure) in enumerate(values.items())
        if measure.value is not None
    ]
    if not points:
        return None
    ticks = [(float(slot), ROWS[name][0]) for slot, name in enumerate(card.agreement)]
    ends = [end for _, m, _, _ in points for end in (m.value, m.low) if end is not None]
    lowest = min(0.0, *ends)
    return _plot(
        "Agreement with the labels", points, ticks, (-0.5, len(ticks) - 0.5), (lowest, 1.0), ""
    )


def _plot_slots(card: Card) -> dict[str, Any] | None:
    """Plot the effect of each slot with 95% whiskers."""
    if not card.slots:
        return None
    points = []
    for slot in card.slots:
        reach = None if slot.stderr is None else 1.96 * slot.stderr
        low, high = (None, None) if reach is None else (slot.effect - reach, slot.effect + reach)
        points.append((slot.position, Measure(slot.effect, low, high, 0), 0, "slot effect"))
    ticks = [(0.0, "first"), (0.5, "middle"), (1.0, "last")]
    return _plot("Slot bias", points, ticks, (-0.1, 1.1), _around_zero(points), "slot shown in")


def _plot_lengths(card: Card) -> dict[str, Any] | None:
    """Plot the mean residual of fifths of all trajectories by relative length."""
    points = [
        (log2(bin_.times_mean_length), Measure(bin_.residual, None, None, 0), 0, f"{bin_.items}")
        for bin_ in card.length_bins
    ]
    if not points or card.length["slope"].value is None:
        return None
    reach = max(0.1, *(abs(x) for x, *_ in points)) * 1.15
    ticks = [(x, f"× {2**x:.2g}") for x in (-reach / 1.15, 0.0, reach / 1.15)]
    label = "length, times the group's mean"
    return _plot("Length bias", points, ticks, (-reach, reach), _around_zero(points), label)


def _around_zero(points: Sequence[Point]) -> tuple[float, float]:
    ends = [end for _, m, _, _ in points for end in (m.value, m.low, m.high) if end is not None]
    reach = 1.1 * max(0.02, *map(abs, ends))
    return -reach, reach


def _plot(
    title: str,
    points: Sequence[Point],
    x_ticks: Sequence[tuple[float, str]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_label: str,
) -> dict[str, Any]:
    """Return a plot in pixels; `zero` is the height of its base line."""
    x_at = _linear_scale(x_range, (_LEFT, _RIGHT))
    y_at = _linear_scale(y_range, (_BOTTOM, _TOP))
    marks = [
        {"x": x_at(x), "y": y_at(measure.value), "low": y_at(measure.low),
         "high": y_at(measure.high), "colour": colour,
         "title": f"{words}: {format_measure(measure)}"}
        for x, measure, colour, words in points
    ]  # fmt: skip
    low, high = y_range
    steps = [low + (high - low) * i / 4 for i in range(5)]
    return {
        "title": title,
        "marks": marks,
        "x_ticks": [(x_at(x), words) for x, words in x_ticks],
        "y_ticks": [(y_at(y), f"{y:+.2f}" if low < 0 else f"{y:.2f}") for y in steps],
        "zero": y_at(0.0),
        "x_label": x_label,
    }


def _linear_scale(
    values: tuple[float, float], pixels: tuple[int, int]
) -> Callable[[float | None], float | None]:
    start, per_unit = values[0], (pixels[1] - pixels[0]) / (values[1] - values[0])
    return lambda value: None if value is None else round(pixels[0] + (value - start) * per_unit, 1)
