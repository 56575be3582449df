"""Format numbers and moments for people: same width, few digits, and a dash where there is none."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

NONE = "–"


def fixed(value: float | None, digits: int = 2) -> str:
    """Return `.87`, `1.00` or `-.20`: a number near [0, 1] without the zero that says nothing."""
    if value is None:
        return NONE
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def signed(value: float | None, digits: int = 2) -> str:
    """Return `fixed` with a sign: `+.12`, `−.03`, `.00`."""
    if value is None:
        return NONE
    text = fixed(abs(value), digits)
    if float(text) == 0:
        return text
    return f"+{text}" if value > 0 else f"−{text}"


def money(value: float | None) -> str:
    """Return US dollars with two significant digits or cents, whichever is more."""
    if value is None:
        return NONE
    if value == 0 or value >= 1:
        return f"${value:,.2f}"
    digits = 2
    while digits < 7 and round(value, digits) < 10 ** (1 - digits):
        digits += 1
    return f"${value:.{digits}f}"


def seconds(value: float | None) -> str:
    """Return `340 ms`, `2.1 s` or `3 min 20 s`."""
    if value is None:
        return NONE
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def count(value: float | None) -> str:
    """Return `950`, `12,400` or `1.2 M`."""
    if value is None:
        return NONE
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Return `87%` for .87."""
    return NONE if value is None else f"{100 * value:.0f}%"


def moment(at: float) -> str:
    """Return `2026-11-30 00:12` in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def iso(at: float) -> str:
    """Return a moment as HTML's `datetime` has it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def rank(value: float) -> str:
    """Return `1`, or `2.5` for a tie."""
    return f"{value:g}"


FILTERS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (fixed, signed, money, seconds, count, percent, moment, iso, rank)
}
