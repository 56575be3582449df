"""Format numbers and untrusted texts for one line of a terminal or a log."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len

DASH = "–"
BLOCKS = "▁▂▃▄▅▆▇█"


def visible(text: str) -> str:
    """Return a text as one line, with U+FFFD for every character that is not printable.

    A text of a model or judge may hold escape sequences, line ends that forge a log, and characters
    that turn the direction of writing.
    """
    lines = text.replace("\t", " ").replace("\xa0", " ").splitlines()
    return " ↵ ".join("".join(c if c.isprintable() else "\ufffd" for c in line) for line in lines)


def cut(text: str, cells: int) -> str:
    """Shorten a text to `cells` columns; a longer text keeps both of its ends."""
    if len(text) <= cells and cell_len(text) <= cells:
        return text
    room = cells - 3
    head = _fitting(text[:room], room - room // 2)
    tail = _fitting(text[: -room - 1 : -1], room // 2)[::-1]
    return f"{head} … {tail}"


def _fitting(text: str, cells: int) -> str:
    """Return the start of the text that fits.

    A combining mark counts as one column, because thousands of them could follow one letter.
    """
    used = 0
    for index, character in enumerate(text):
        used += max(1, cell_len(character))
        if used > cells:
            return text[:index]
    return text


def number(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


def share(value: float | None, digits: int = 0) -> str:
    return DASH if value is None else f"{100 * value:.{digits}f}%"


def seconds(value: float | None) -> str:
    """Format seconds with about three digits."""
    if value is None:
        return DASH
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(value: float) -> str:
    minutes, whole = divmod(max(0, round(value)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


def amount(value: float) -> str:
    """Format a count: 950, 12.3k, 4.5M."""
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= unit:
            return f"{value / (1e3 if sign == 'k' else unit):.1f}{sign}"
    return f"{value:.0f}"


def cost(dollars: float) -> str:
    """Format dollars; 0 is a dash, because a judge of unknown price reports 0, too."""
    if not dollars:
        return DASH
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"


def sparkline(values: Sequence[float], width: int, least_span: float = 0.1) -> str:
    """Draw the values as at most `width` blocks, from the lowest to the highest.

    Args:
        values: finite numbers; neighbours are averaged if there are more than `width`.
        width: the number of blocks at most.
        least_span: the range that fills the height; a smaller range stays low, as noise should.
    """
    count = min(len(values), width)
    edges = [len(values) * place // count for place in range(count + 1)] if count else [0]
    means = [math.fsum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    if not means:
        return ""
    low = min(means)
    span = max(max(means) - low, least_span)
    return "".join(BLOCKS[min(7, int(8 * (mean - low) / span))] for mean in means)
