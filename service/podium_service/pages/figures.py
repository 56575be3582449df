"""Draw small figures as inline SVG; their colours come from the style sheet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

from markupsafe import Markup, escape

from podium_service.pages.numbers import fixed

WHISKER_WIDTH, WHISKER_HEIGHT, _PAD = 180, 22, 6
_CHART_WIDTH, _CHART_HEIGHT = 420, 180
MAX_DOTS = 40  # of a line, because each one with its link takes 200 bytes
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 24


def whisker(score: float | None, stderr: float | None) -> Markup:
    """Draw a score in [0, 1] as a dot, with a line to one standard error on each side."""
    if score is None:
        return Markup('<span class="dim">–</span>')
    reach = WHISKER_WIDTH - 2 * _PAD
    x = _PAD + reach * min(1.0, max(0.0, score))
    middle = WHISKER_HEIGHT / 2
    label = f"score {fixed(score)}" + ("" if stderr is None else f" ± {fixed(stderr)}")
    ticks = [
        f'<line class="tick" x1="{_PAD + reach * at:.1f}" x2="{_PAD + reach * at:.1f}"'
        f' y1="{middle - 3}" y2="{middle + 3}"/>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    ]
    bar = ""
    if stderr:
        low, high = (_PAD + reach * min(1.0, max(0.0, score + s * stderr)) for s in (-1, 1))
        ends = "".join(f"M{end:.1f} {middle - 4:g}v8" for end in (low, high))
        bar = f'<path class="bar" d="M{low:.1f} {middle:g}H{high:.1f}{ends}"/>'
    return _svg(
        "whisker",
        (WHISKER_WIDTH, WHISKER_HEIGHT),
        label,
        f'<line class="axis" x1="{_PAD}" x2="{WHISKER_WIDTH - _PAD}" y1="{middle}" y2="{middle}"/>',
        *ticks,
        bar,
        f'<circle class="dot" cx="{x:.1f}" cy="{middle}" r="3.5"/>',
    )


def sparkline(rewards: Sequence[float] | None, *, in_order: bool = False) -> Markup:
    """Draw the rewards of a group as bars, the greatest first, or in the order of the request."""
    if not rewards:
        return Markup('<span class="dim">–</span>')
    shown = list(rewards) if in_order else sorted(rewards, reverse=True)
    step = max(2.0, min(9.0, 96 / len(shown)))
    width, height = round(step * len(shown)), 24
    bars = [
        f'<rect x="{index * step:.1f}" y="{height - max(1.0, height * each):.1f}"'
        f' width="{step - 1.5:.1f}" height="{max(1.0, height * each):.1f}" rx="1"/>'
        for index, each in enumerate(shown)
    ]
    label = "rewards " + ", ".join(fixed(each) for each in shown)
    return _svg("spark", (width, height), label, *bars)


@dataclass(frozen=True)
class Series:
    """Points of a chart that belong together.

    Attributes:
        points: x and y; a y of None is a gap.
        link: takes the place of a point in `points`, and returns the address behind it.
        title: likewise, and returns what the point says when it is pointed at.
        errors: the standard error of each y, drawn as a whisker; none if it is empty.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    link: Callable[[int], str] | None = None
    title: Callable[[int], str] | None = None
    errors: Sequence[float | None] = ()


def lines(
    title: str, series: Sequence[Series], *, low: float | None = None, high: float | None = None
) -> Markup:
    """Draw series over the same x, each as a line with a dot per point."""
    return _chart(title, series, low=low, high=high, with_line=True)


def scatter(title: str, series: Sequence[Series], x_label: str) -> Markup:
    """Draw points, for example rewards against lengths."""
    return _chart(title, series, low=0.0, high=1.0, with_line=False, x_label=x_label)


def _chart(
    title: str,
    series: Sequence[Series],
    *,
    low: float | None,
    high: float | None,
    with_line: bool,
    x_label: str = "",
) -> Markup:
    xs = [x for each in series for x, y in each.points if y is not None]
    ys = [y for each in series for _, y in each.points if y is not None]
    if not ys:
        return Markup('<p class="empty">no data</p>')
    x_low, x_high = min(xs), max(xs)
    y_low = min(ys) if low is None else min(low, *ys)
    y_high = max(ys) if high is None else max(high, *ys)
    if y_high - y_low < 1e-9:
        y_low, y_high = y_low - (abs(y_low) or 1) / 2, y_high + (abs(y_high) or 1) / 2
    inner = _CHART_WIDTH - _LEFT - _RIGHT, _CHART_HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return _LEFT + inner[0] * across, _TOP + inner[1] * (1 - (y - y_low) / (y_high - y_low))

    parts = _axes(place, (x_low, x_high), (y_low, y_high), x_label)
    for colour, each in enumerate(series):
        parts += _draw_series(each, colour, place, with_line=with_line)
    label = f"{title}: " + "; ".join(_say(each) for each in series)
    return _svg("chart", (_CHART_WIDTH, _CHART_HEIGHT), label, *parts)


def _axes(
    place: Callable[[float, float], tuple[float, float]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_label: str,
) -> list[str]:
    parts = []
    for tick in _ticks(*y_range):
        _, y = place(x_range[0], tick)
        at = f'x="{_LEFT - 8}" y="{y + 4:.1f}"'
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_CHART_WIDTH - _RIGHT}" y1="{y:.1f}"'
            f' y2="{y:.1f}"/><text class="end" {at}>{_short(tick)}</text>'
        )
    bottom = _CHART_HEIGHT - 6
    parts.append(f'<text x="{_LEFT}" y="{bottom}">{_short(x_range[0])}</text>')
    if x_range[1] > x_range[0]:
        right = _CHART_WIDTH - _RIGHT
        parts.append(f'<text class="end" x="{right}" y="{bottom}">{_short(x_range[1])}</text>')
    if x_label:
        middle = (_LEFT + _CHART_WIDTH - _RIGHT) / 2
        parts.append(f'<text class="middle" x="{middle}" y="{bottom}">{escape(x_label)}</text>')
    return parts


def _draw_series(
    series: Series,
    colour: int,
    place: Callable[[float, float], tuple[float, float]],
    *,
    with_line: bool,
) -> list[str]:
    parts = []
    if with_line:
        runs: list[list[str]] = [[]]
        for x, y in series.points:
            if y is None:
                runs.append([])
            else:
                runs[-1].append("{:.1f},{:.1f}".format(*place(x, y)))
        parts += [
            f'<polyline class="line c{colour}" points="{" ".join(run)}"/>'
            for run in runs
            if len(run) > 1
        ]

    def clip(height: float) -> float:
        return min(_CHART_HEIGHT - _BOTTOM, max(_TOP, height))

    radius = 2.5 if len(series.points) > 40 or not with_line else 3.5
    for index in _choose_dots(series, with_line=with_line):
        x, y = series.points[index]
        if y is None:
            continue
        at = place(x, y)
        if series.errors and (error := series.errors[index]):
            top, bottom = (clip(place(x, y + sign * error)[1]) for sign in (1, -1))
            parts.append(
                f'<line class="error c{colour}" x1="{at[0]:.1f}" x2="{at[0]:.1f}"'
                f' y1="{top:.1f}" y2="{bottom:.1f}"/>'
            )
        title = series.title(index) if series.title else f"{series.name} {x:g}: {_short(y)}"
        dot = (
            f'<circle class="point c{colour}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}">'
            f"<title>{escape(title)}</title></circle>"
        )
        link = series.link(index) if series.link else ""
        parts.append(
            f'<a href="{escape(link)}" tabindex="-1" aria-label="{escape(title)}">{dot}</a>'
            if link
            else dot
        )
    return parts


def _choose_dots(series: Series, *, with_line: bool) -> list[int]:
    """Return the points that get a dot: the last one, and few others where there is a line."""
    known = [index for index, (_, y) in enumerate(series.points) if y is not None]
    step = -(-len(known) // MAX_DOTS) if with_line else 1
    return known[::-1][:: max(1, step)][::-1]


def _say(series: Series) -> str:
    known = [y for _, y in series.points if y is not None]
    if not known:
        return f"{series.name} has no values"
    return f"{series.name} from {_short(known[0])} to {_short(known[-1])}"


def _ticks(low: float, high: float) -> list[float]:
    """Return two to five round numbers between two others."""
    raw = (high - low) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw * 0.999)
    first = floor(low / step + 0.999)
    return [each * step for each in range(first, first + 6) if each * step <= high + step * 1e-6]


def _short(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    text = f"{value:.3g}"
    return text.replace("0.", ".", 1) if 0 < abs(value) < 1 and "e" not in text else text


def _svg(kind: str, size: tuple[int, int], label: str, *parts: str) -> Markup:
    content = "".join(parts)
    role = "group" if "<a " in content else "img"  # the links of an image could not be reached
    opening = Markup(
        '<svg class="{}" width="{}" height="{}" viewBox="0 0 {} {}" role="{}" aria-label="{}">'
    ).format(kind, *size, *size, role, label)
    return opening + Markup(content) + Markup("</svg>")


FIGURES: dict[str, Any] = {"whisker": whisker, "sparkline": sparkline}
