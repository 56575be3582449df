"""Fitting a transcript into a judge's context: count first, then cut the longest in the middle."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from podium_service.errors import ContextExceeded
from podium_service.prompts.defences.escape import DATAMARK, OUR_TAGS
from podium_service.prompts.transcript import Transcript

MIN_TOKENS = 64
_DIGITS = b"0123456789"
# Tags of ours: whatever a trajectory itself contains of the kind is escaped.
_TAG = re.compile(rf"</?(?:{'|'.join(OUR_TAGS)})(?: [^<>]*)?/?>")
_NAME = re.compile(r"<(\w+)")


def estimate_tokens(text: str) -> int:
    """Tokens of `text`, without a tokenizer, on the safe side.

    A third of a token per UTF-8 byte, and a whole one per digit: vocabularies that split numbers
    into digits are the worst case in practice.
    """
    raw = text.encode()
    digits = len(raw) - len(raw.translate(None, _DIGITS))
    marks = 0 if text.isascii() else text.count(DATAMARK)
    return (len(raw) + 2 * digits + marks) // 3 + 1


def _most_tokens(text: str) -> int:
    """No less than `estimate_tokens`, at once: UTF-8 has at most four bytes per character."""
    return (len(text) if text.isascii() else 4 * len(text)) + 1


def fit(transcript: Transcript, budget: int, shown: Sequence[int] | None = None) -> Transcript:
    """Cut the longest parts down to one common length, so that all fit in `budget` tokens.

    The shared context counts as one part. What is cut leaves a `<trimmed .../>` mark.

    Args:
        transcript: what to show.
        budget: tokens for it.
        shown: indices of the bodies that are shown together; all by default.

    Raises:
        ContextExceeded: If that would leave less than `MIN_TOKENS` tokens of each part.
    """
    indices = range(len(transcript.bodies)) if shown is None else shown
    parts = [transcript.context, *(transcript.bodies[index] for index in indices)]
    if sum(map(_most_tokens, parts)) <= budget:  # without counting
        return transcript
    tokens = [estimate_tokens(part) for part in parts]
    if sum(tokens) <= budget:
        return transcript
    cap = _common_cap(tokens, budget)
    if cap < MIN_TOKENS:
        raise ContextExceeded(
            f"{len(parts) - 1} trajectories of {sum(tokens)} tokens (estimated) do not fit "
            f"{budget} tokens even when trimmed: send fewer, or name a judge with more context"
        )
    context, *cut = [
        cut_middle(part, cap) if count > cap else part
        for part, count in zip(parts, tokens, strict=True)
    ]
    bodies = list(transcript.bodies)
    for index, body in zip(indices, cut, strict=True):
        bodies[index] = body
    return replace(transcript, context=context, bodies=bodies)


def cut_middle(text: str, max_tokens: int) -> str:
    """As much of the head and the tail as `max_tokens` (estimated) hold, with a mark between."""

    def keeping(num_characters: int) -> str:
        tail = num_characters // 2
        head = num_characters - tail
        mark = f'<trimmed characters="{len(text) - num_characters}"/>'
        return f"{text[:head]}\n{mark}\n{text[len(text) - tail :]}"

    fits = bisect_right(range(len(text)), max_tokens, key=lambda n: estimate_tokens(keeping(n)))
    kept = max(0, fits - 1)
    return _sewn(text, kept - kept // 2, len(text) - kept // 2)


def _sewn(text: str, head_end: int, tail_start: int) -> str:
    """Head and tail of a text with a mark between. What the cut goes through is closed
    before it and opened again after it, so that no words change their speaker."""
    head_end, tail_start = _outside_tags(text, head_end, tail_start)
    before, after = _open_tags(text[:head_end]), _open_tags(text[:tail_start])
    mark = f'<trimmed characters="{tail_start - head_end}"/>'
    closing = "".join(f"\n</{_NAME.findall(tag)[0]}>" for tag in reversed(before))
    opening = "".join(f"\n{tag}" for tag in after)
    return f"{text[:head_end]}{closing}\n{mark}{opening}\n{text[tail_start:]}"


def _outside_tags(text: str, head_end: int, tail_start: int) -> tuple[int, int]:
    """The cut, widened where it would go through a tag of ours."""
    for tag in _TAG.finditer(text):
        if tag.start() < head_end < tag.end():
            head_end = tag.start()
        if tag.start() < tail_start < tag.end():
            tail_start = tag.end()
    return head_end, tail_start


def _open_tags(text: str) -> list[str]:
    """Our tags that are open at the end of a text, outermost first."""
    opened: list[str] = []
    for tag in _TAG.finditer(text):
        if tag[0].startswith("</"):
            opened = opened[:-1]
        elif not tag[0].endswith("/>"):
            opened.append(tag[0])
    return opened


def _common_cap(tokens: Sequence[int], budget: int) -> int:
    """The largest c with sum(min(t, c)) <= budget."""
    left = budget
    for done, count in enumerate(sorted(tokens)):
        cap = left // (len(tokens) - done)
        if count > cap:
            return cap
        left -= count
    return max(tokens)
