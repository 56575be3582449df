"""Tell what the judge did not see of an attempt, from the exact prompts that were kept.

A prompt shows texts in its own layout, so texts are compared without whitespace.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from podium_service.pages.texts.conversation import ToolUse, Turn, content_text
from podium_service.pages.texts.marks import Mark, MarkedText, find_marks
from podium_service.pages.texts.visible import unify_lines
from podium_service.prompts.defences.escape import DATAMARK, clean
from podium_service.prompts.defences.steering import HIDDEN, find_hidden
from podium_service.prompts.message_parts.tool_calls import render_arguments
from podium_service.prompts.templates import read_shown
from podium_service.schemas.history import CallView

_CUT_ARGUMENTS = "not all of this shown to the judge"
_TAIL_CHARS = 24
_IMAGE = re.compile(r"^\[(?:image|input_image|image_url)[\w ]*\]$", re.MULTILINE)
_TRIMMED = re.compile(r'(?:\n</\w+>)*\n<trimmed characters="(\d+)"/>(?:\n<\w+(?: [^<>]*)?>)*\n')


@dataclass(frozen=True)
class Shown:
    """The part of one attempt that the judge saw where it saw least.

    Attributes:
        body: the text in the prompt.
        times: in how many calls the attempt was shown.
        times_cut: in how many of them it was trimmed.
    """

    body: str
    times: int = 1
    times_cut: int = 0

    @property
    def num_cut(self) -> int:
        """Number of characters that the judge did not see."""
        return sum(map(int, _TRIMMED.findall(self.body)))


def find_shown(calls: Sequence[CallView]) -> dict[str, Shown]:
    """Return what the judge saw of each attempt, by its id; empty where prompts are not kept."""
    found: dict[str, Shown] = {}
    for call in calls:
        for shown_id, body in _read_bodies(call).items():
            if (name := call.shown_ids.get(shown_id)) is not None:
                found[name] = _combine(found.get(name), Shown(body))
    return found


def find_planted(call: CallView) -> list[str]:
    """Return the ids that a call showed for bad attempts that were planted, to catch the judge."""
    return [each for each in _read_bodies(call) if call.shown_ids and each not in call.shown_ids]


def _read_bodies(call: CallView) -> dict[str, str]:
    """Return what a call showed, by the ids that it showed."""
    texts = (content_text(each.get("content")) for each in call.messages)
    bodies = (read_shown(text, list(call.shown_ids)) for text in texts)
    return next(filter(None, bodies), {})


def _combine(before: Shown | None, shown: Shown) -> Shown:
    shown = replace(shown, times_cut=int(shown.num_cut > 0))
    if before is None:
        return shown
    least = max(before, shown, key=lambda each: each.num_cut)
    return replace(
        least,
        times=before.times + 1,
        times_cut=before.times_cut + shown.times_cut,
    )


def annotate(turns: Sequence[Turn], flags: Sequence[str], shown: Shown | None) -> list[Turn]:
    """Return the turns of an attempt with marks on what made its flags and on what was not shown.

    Texts of users and of the system have only the latter, because they are not searched.

    Args:
        flags: of the attempt.
        shown: what the judge saw of it; None if that is not known.
    """
    view = _View(shown) if shown else None

    def mark(text: str, role: str, *, is_thought: bool = False) -> MarkedText:
        text = unify_lines(text)
        marks = find_marks(text, flags) if role in ("assistant", "tool") else []
        unseen = view.find_unseen(text, is_thought=is_thought) if view else []
        marks += [Mark(start, stop, "unseen") for start, stop in unseen]
        missing = sum(_count(text[start:stop]) for start, stop in unseen)
        return MarkedText(text, marks, _say(missing, _count(text)))

    def mark_use(use: ToolUse) -> ToolUse:
        arguments = unify_lines(use.arguments)
        note = _CUT_ARGUMENTS if view and view.has_cut(arguments) else ""
        return replace(
            use,
            arguments=MarkedText(arguments, find_marks(arguments, flags), note),
            result=None if use.result is None else mark(use.result, "tool"),
        )

    return [
        replace(
            turn,
            text=mark(turn.text, turn.role),
            reasoning=mark(turn.reasoning, turn.role, is_thought=True),
            tools=[mark_use(use) for use in turn.tools],
        )
        for turn in turns
    ]


def _count(text: str) -> int:
    """Return the number of characters but whitespace."""
    return len("".join(text.split()))


def _say(missing: int, length: int) -> str:
    if not missing:
        return ""
    if missing == length:
        return "not shown to the judge"
    return f"{missing:,} of {length:,} characters not shown to the judge"


class _View:
    """The body that the judge saw, without whitespace."""

    def __init__(self, shown: Shown) -> None:
        self._has_thoughts = "<thoughts>" in shown.body
        # The texts before and after each cut; numbers of characters stand at odd indices.
        self._parts = [_squeeze(part) for part in _TRIMMED.split(shown.body)[::2]]
        self._hides = HIDDEN in shown.body

    def find_unseen(self, text: str, *, is_thought: bool) -> list[tuple[int, int]]:
        """Return where the stretches of a text that the judge did not see begin and end."""
        whole = (0, len(text))
        if is_thought:
            return [whole] if text and not self._has_thoughts else []
        squeezed = _squeeze(clean(text))
        if not squeezed or self._holds(squeezed) or _IMAGE.search(text):
            return []
        hidden = find_hidden(text) if self._hides else []
        if hidden or len(self._parts) == 1:
            return hidden  # a cut through such a text is counted for the attempt alone
        before, after = self._parts[0], self._parts[-1]
        first = _longest_prefix(squeezed, before)
        last = _longest_prefix(squeezed[::-1], after[::-1])
        if first + last >= len(squeezed):
            return []
        return [(_position(text, first), _position(text, len(squeezed) - last))]

    def has_cut(self, arguments: str) -> bool:
        """Return whether the judge did not see all arguments of a call."""
        shown = _squeeze(clean(render_arguments(arguments)))
        return len(self._parts) > 1 and not self._holds(shown)

    def _holds(self, squeezed: str) -> bool:
        return any(squeezed in part for part in self._parts)


def _squeeze(text: str) -> str:
    return "".join(text.replace(DATAMARK, "").split())


def _longest_prefix(text: str, before: str) -> int:
    """Return the length of the longest beginning of a text with which another text ends."""
    tail = before[-_TAIL_CHARS:]
    end = text.rfind(tail) + len(tail) if tail and tail in text else 0
    while end:
        if before.endswith(text[:end]):
            return end
        at = text.rfind(tail, 0, end - 1)
        end = at + len(tail) if at >= 0 else 0
    shorter = range(min(len(text), len(tail)), 0, -1)
    return next((number for number in shorter if before.endswith(text[:number])), 0)


def _position(text: str, num_squeezed: int) -> int:
    """Return the position in a text after so many characters as the judge saw them."""

    def count(at: int) -> int:
        return len(_squeeze(clean(text[:at])))

    return bisect_left(range(len(text)), num_squeezed, key=count)
