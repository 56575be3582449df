"""The page of all judges: whether they can be called now, how fast they are, and how steady."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from podium_service.pages.figures import Series, lines
from podium_service.pages.frame import Frame, render
from podium_service.pages.numbers import fixed, moment
from podium_service.pages.operation.drift import Window, find_windows
from podium_service.store.history.judging import CallFigures, TimedGroup

_CARD_ROWS = (("accuracy", "Pairs in the right order"), ("auc", "AUC"), ("tau_b", "Kendall's tau"),
              ("top1", "Best one found"))  # fmt: skip


@dataclass(frozen=True)
class EndpointState:
    """One base URL as this process sees it now.

    Attributes:
        limit, in_flight: how many calls may be active, and how many are.
        state: "ready", or why no call may start there.
        last_failure: what the last failed call met with; "" if none failed.
        probe: what it said when it was asked just now; None if it was not.
    """

    base_url: str
    limit: int
    in_flight: int
    state: str
    last_failure: str
    probe: Mapping[str, Any] | None = None

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"


@dataclass(frozen=True)
class JudgeState:
    """One configured judge as this process sees it now.

    Attributes:
        waiting: calls that wait for a place; `call_s` is what a call takes.
        limit_usd, per, spent_usd: the judge's spend limit, and what is spent of it.
        card: what `podium calibrate` wrote of it; None if its settings name no card.
    """

    name: str
    is_default: bool
    kind: str
    model: str = ""
    method: str = ""
    members: Sequence[str] = ()
    endpoints: Sequence[EndpointState] = ()
    waiting: int = 0
    limit_usd: float | None = None
    per: str = ""
    spent_usd: float | None = None
    card: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Speed:
    """The speed of a judge's last calls; `tokens_per_s` is of one reply while it is written."""

    calls: int
    median_s: float
    tokens_per_s: float
    faulty: float


@dataclass(frozen=True)
class _Shown:
    state: JudgeState
    speed: Speed | None
    windows: list[Window]
    noise_chart: Markup
    slot_chart: Markup
    card_rows: list[tuple[str, Mapping[str, Any]]]


def render_judges(
    frame: Frame,
    states: Sequence[JudgeState],
    calls: Mapping[str, Sequence[CallFigures]],
    past: Mapping[str, Sequence[TimedGroup]],
    *,
    is_probed: bool = False,
    is_refused: bool = False,
) -> str:
    """Return the page of all judges.

    Args:
        calls, past: the last calls, and what the last groups told, by judge.
        is_probed: whether the endpoints were asked just now.
        is_refused: whether the judges file was changed and is not in use.
    """
    shown = [_show(each, calls.get(each.name, ()), past.get(each.name, ())) for each in states]
    return render(
        "judges",
        frame,
        judges=shown,
        is_probed=is_probed,
        is_refused=is_refused,
        now=time.time(),
    )


def measure_speed(calls: Sequence[CallFigures]) -> Speed | None:
    """Return what calls took; None without calls."""
    if not calls:
        return None
    total_s = sum(each.latency_s for each in calls)
    return Speed(
        len(calls),
        median(each.latency_s for each in calls),
        sum(each.completion_tokens for each in calls) / total_s if total_s else 0.0,
        sum(not each.has_verdict for each in calls) / len(calls),
    )


def _show(state: JudgeState, calls: Sequence[CallFigures], past: Sequence[TimedGroup]) -> _Shown:
    windows = find_windows(past)
    agreement = (state.card or {}).get("agreement")
    reward = agreement.get("reward", {}) if isinstance(agreement, dict) else {}
    return _Shown(
        state,
        measure_speed(calls),
        windows,
        _chart("Noise", [(each, each.noise_sd, each.is_noisier or each.is_calmer)
                         for each in windows]),
        _chart("Last slot over first", [(each, each.slot_gain, each.has_new_slots)
                                        for each in windows]),
        [(title, reward[name]) for name, title in _CARD_ROWS if isinstance(reward.get(name), dict)],
    )  # fmt: skip


def _chart(title: str, points: Sequence[tuple[Window, float | None, bool]]) -> Markup:
    """Draw a figure of each window, and those that have drifted in another colour."""
    if not any(y is not None for _, y, _ in points):
        return Markup()

    def say(index: int) -> str:
        window, y, _ = points[index]
        return f"{moment(window.at)}: {fixed(y, 3)}"

    xs = range(1, len(points) + 1)
    all_of = Series(title, [(x, y) for x, (_, y, _) in zip(xs, points, strict=True)], title=say)
    moved = [(x, y if is_new else None) for x, (_, y, is_new) in zip(xs, points, strict=True)]
    drifted = [Series("drift", moved, title=lambda index: f"drift, {say(index)}")]
    return lines(
        title, [all_of, *(drifted if any(y is not None for _, y in moved) else [])], low=0.0
    )
