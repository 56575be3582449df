"""Texts from outside and numbers, as they are safe to show in a terminal."""

import re

from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def literal(text: str, style: str = "") -> Text:
    """Return a text from outside as rich shows it literally: no markup, no terminal commands."""
    return Text(visible(text), style=style)


def visible(text: str) -> str:
    """Replace the control characters that a terminal would obey by U+FFFD."""
    return _CONTROL.sub("\ufffd", text)


def number(value: float | None) -> str:
    """Write three decimals; nothing for a value that is not known."""
    return "" if value is None else f"{value:.3f}"
