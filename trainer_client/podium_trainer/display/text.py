"""Numbers and strangers' words → short text for one line of a terminal or a log."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len

DASH = "–"
BLOCKS = "▁▂▃▄▅▆▇█"


def visible(text: str) -> str:
    """One line: what a terminal would obey, or not show, becomes a mark.

    A model's or judge's text may hold escape sequences, line ends that forge a log, and characters
    that turn the direction of writing.
    """
    lines = text.replace("\t", " ").replace("\xa0", " ").splitlines()
    return " ↵ ".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)


def cut(text: str, cells: int) -> str:
    """At most `cells` wide; a longer text keeps both of its ends."""
    if len(text) <= cells and cell_len(text) <= cells:
        return text
    room = cells - 3
    head = _fitting(text[:room], room - room // 2)
    tail = _fitting(text[: -room - 1 : -1], room // 2)[::-1]
    return f"{head} … {tail}"


def _fitting(text: str, cells: int) -> str:
    """As much of the text as fits; marks without a width count too, so that they cannot pile up."""
    taken = 0
    for place, character in enumerate(text):
        taken += max(1, cell_len(character))
        if taken > cells:
            return text[:place]
    return text


def number(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


def share(value: float | None, digits: int = 0) -> str:
    return DASH if value is None else f"{100 * value:.{digits}f}%"


def seconds(value: float | None) -> str:
    """Three figures or so."""
    if value is None:
        return DASH
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(value: float) -> str:
    minutes, whole = divmod(max(0, round(value)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


def amount(value: float) -> str:
    """A count: 950, 12.3k, 4.5M."""
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= unit:
            return f"{value / (1e3 if sign == 'k' else unit):.1f}{sign}"
    return f"{value:.0f}"


def cost(dollars: float) -> str:
    """A dash for 0: a judge of unknown price costs that, too."""
    if not dollars:
        return DASH
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"


def sparkline(values: Sequence[float], width: int, least_span: float = 0.1) -> str:
    """The values as at most `width` blocks, from the lowest to the highest.

    Args:
        values: finite numbers; neighbours are averaged when there are more than `width`.
        least_span: a smaller range does not fill the height, so that noise looks small.
    """
    count = min(len(values), width)
    edges = [len(values) * place // count for place in range(count + 1)] if count else [0]
    means = [math.fsum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    if not means:
        return ""
    low = min(means)
    span = max(max(means) - low, least_span)
    return "".join(BLOCKS[min(7, int(8 * (mean - low) / span))] for mean in means)
