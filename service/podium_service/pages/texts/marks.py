"""Mark stretches of a text: what made its flags, what was escaped, what the judge did not see."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from markupsafe import Markup

from podium_service.pages.texts.visible import mark_hidden, unify_lines
from podium_service.prompts.defences.escape import find_escaped
from podium_service.prompts.defences.passages import find_passages

Kind = Literal["steering", "escaped", "unseen"]
TITLES: dict[Kind, str] = {
    "steering": "addresses the judge",
    "escaped": "looks like a tag of the prompt: escaped before the judge saw it",
    "unseen": "the judge did not see this",
}
STEERING = "steering:"


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters from `start` to before `stop`; `label` is shown after them."""

    start: int
    stop: int
    kind: Kind
    label: str = ""


class MarkedText(str):
    """A text with its marks, and a note on what the judge saw of it."""

    __slots__ = ("marks", "note")

    marks: Sequence[Mark]
    note: str

    def __new__(cls, text: str, marks: Sequence[Mark] = (), note: str = "") -> "MarkedText":
        """Return the text; marks are of the text with unified ends of lines."""
        made = super().__new__(cls, unify_lines(text))
        made.marks, made.note = marks, note
        return made


def find_marks(text: str, flags: Sequence[str]) -> list[Mark]:
    """Return what of a text made flags, and what of it was escaped.

    Args:
        text: with unified ends of lines.
        flags: of the attempt that says the text.
    """
    names = [flag.removeprefix(STEERING) for flag in flags if flag.startswith(STEERING)]
    passages = [Mark(p.start, p.stop, "steering", p.name) for p in find_passages(text, names)]
    return passages + [Mark(start, stop, "escaped") for start, stop in find_escaped(text)]


def render_marked(text: str) -> Markup:
    """Return HTML of a text with its marks, if it has any, and with hidden characters named."""
    marks = text.marks if isinstance(text, MarkedText) else ()
    if not marks:
        return mark_hidden(text)
    edges = sorted({0, len(text), *(m.start for m in marks), *(m.stop for m in marks)})
    parts: list[Markup] = []
    for start, stop in pairwise(edges):
        over = [mark for mark in marks if mark.start <= start and stop <= mark.stop]
        piece = mark_hidden(str(text[start:stop]))
        parts.append(_wrap(piece, over, stop) if over else piece)
    return Markup("").join(parts)


def note_of(text: Any) -> str:
    """Return what is to be said about a text as a whole; "" for a text without marks."""
    return text.note if isinstance(text, MarkedText) else ""


def is_marked(text: Any, kind: Kind | None = None) -> bool:
    """Return whether a text has marks, of one kind if that is given."""
    marks = text.marks if isinstance(text, MarkedText) else ()
    return any(kind in (None, mark.kind) for mark in marks)


def _wrap(piece: Markup, over: Sequence[Mark], stop: int) -> Markup:
    kinds = sorted({mark.kind for mark in over})
    labels = sorted({mark.label for mark in over if mark.label and mark.stop == stop})
    title = "; ".join(TITLES[kind] for kind in kinds)
    label = Markup("<small>{}</small>").format(", ".join(labels)) if labels else ""
    return Markup('<mark class="{}" title="{}">{}{}</mark>').format(
        " ".join(kinds), title, piece, label
    )
