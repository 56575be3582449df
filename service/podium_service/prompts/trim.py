"""Trim a transcript to a judge's context by cutting the longest texts in their middle."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from podium_service.errors import ContextExceeded
from podium_service.prompts.defences.escape import DATAMARK, OUR_TAGS
from podium_service.prompts.message_parts.images import LABEL, ShownImage, list_labels
from podium_service.prompts.transcript import Transcript

MIN_TOKENS = 64
_DIGITS = b"0123456789"
# These can only be our own tags, because a trajectory's are escaped.
_TAG = re.compile(rf"</?(?:{'|'.join(OUR_TAGS)})(?: [^<>]*)?/?>")
_INDIVISIBLE = re.compile(rf"{_TAG.pattern}|{LABEL.pattern}")
_NAME = re.compile(r"<(\w+)")


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of `text` without a tokenizer, rather too high than too low.

    Counts a third of a token per UTF-8 byte and a whole token per digit, because vocabularies that
    split numbers into digits are the worst case in practice.
    """
    raw = text.encode()
    digits = len(raw) - len(raw.translate(None, _DIGITS))
    marks = 0 if text.isascii() else text.count(DATAMARK)
    return (len(raw) + 2 * digits + marks) // 3 + 1


def estimate_parts(parts: Sequence[str | ShownImage]) -> int:
    """Estimate the tokens of the parts of a message, its images by what they count for."""
    return sum(estimate_tokens(part) if isinstance(part, str) else part.tokens for part in parts)


def estimate_shown(transcript: Transcript, texts: Sequence[str]) -> int:
    """Estimate the tokens of texts of a transcript, and of the images they refer to, each once."""
    numbers = {each for text in texts for each in list_labels(text, len(transcript.images))}
    images = transcript.image_tokens * len(numbers)
    return sum(map(estimate_tokens, texts)) + images


def bound_shown(transcript: Transcript, texts: Sequence[str]) -> int:
    """Return a number that `estimate_shown` never exceeds, without a look at the texts.

    Most groups surely fit, and UTF-8 has at most four bytes per character.
    """
    bounds = (1 + len(text) * (1 if text.isascii() else 4) for text in texts)
    return sum(bounds) + transcript.image_tokens * len(transcript.images)


def fit(transcript: Transcript, budget: int, shown: Sequence[int] | None = None) -> Transcript:
    """Cut the longest parts down to one common length, so that all fit in `budget` tokens.

    The shared context counts as one part. A `<trimmed .../>` mark stands where text was cut. An
    image counts as a part of the text that refers to it, and goes with its label; one that several
    texts refer to is kept.

    Args:
        transcript: the texts to fit.
        budget: tokens (estimated) for them.
        shown: indices of the bodies that are shown together; all by default.

    Returns:
        The transcript with those bodies and the context cut; others are as they were.

    Raises:
        ContextExceeded: If less than `MIN_TOKENS` tokens would be left of each part, or no room for
            one image in a part that shows images and has to be cut.
    """
    indices = range(len(transcript.bodies)) if shown is None else shown
    parts = [transcript.context, *(transcript.bodies[index] for index in indices)]
    if bound_shown(transcript, parts) <= budget:
        return transcript
    common, estimate = _count_images(transcript, parts)
    left = budget - common
    tokens = [estimate(part) for part in parts]
    if sum(tokens) <= left:
        return transcript
    cap = _find_cap(tokens, left)
    shows_own = (
        count > cap and estimate(part) > estimate_tokens(part)
        for part, count in zip(parts, tokens, strict=True)
    )
    if cap < MIN_TOKENS + (transcript.image_tokens if any(shows_own) else 0):
        beside = f" and {len(transcript.images)} images" if transcript.image_tokens else ""
        raise ContextExceeded(
            f"{len(parts) - 1} trajectories{beside} of {sum(tokens) + common} tokens (estimated) "
            f"do not fit {budget} tokens even when trimmed: send fewer, or name a judge with more "
            "context"
        )
    context, *cut = [
        cut_middle(part, cap, estimate) if count > cap else part
        for part, count in zip(parts, tokens, strict=True)
    ]
    bodies = list(transcript.bodies)
    for index, body in zip(indices, cut, strict=True):
        bodies[index] = body
    return replace(transcript, context=context, bodies=bodies)


def _count_images(transcript: Transcript, parts: Sequence[str]) -> tuple[int, Callable[[str], int]]:
    """Return the tokens of images that several parts refer to, and how to count a part."""
    if not transcript.image_tokens:
        return 0, estimate_tokens
    num_images, per_image = len(transcript.images), transcript.image_tokens
    times = Counter(number for part in parts for number in list_labels(part, num_images))
    common = {number for number, count in times.items() if count > 1}

    def estimate(text: str) -> int:
        own = {*list_labels(text, num_images)} - common
        return estimate_tokens(text) + per_image * len(own)

    return per_image * len(common), estimate


def cut_middle(text: str, max_tokens: int, estimate: Callable[[str], int] = estimate_tokens) -> str:
    """Keep as much of head and tail as fits `max_tokens` (estimated), with a mark between."""

    def cut_to(num_characters: int) -> str:
        tail_start = len(text) - num_characters // 2
        mark = f'<trimmed characters="{len(text) - num_characters}"/>'
        return f"{text[: num_characters - num_characters // 2]}\n{mark}\n{text[tail_start:]}"

    num_fitting = bisect_right(
        range(len(text)), max_tokens, key=lambda count: estimate(cut_to(count))
    )
    count = max(0, num_fitting - 1)
    return _join_around_mark(text, count - count // 2, len(text) - count // 2)


def _join_around_mark(text: str, head_end: int, tail_start: int) -> str:
    """Join the head and the tail of a text with a mark between.

    The cut is widened where it would begin or end inside a tag or a label. Tags that it goes
    through are closed before it and opened again after it, so that no words change their speaker.
    """
    for tag in _INDIVISIBLE.finditer(text):
        if tag.start() < head_end < tag.end():
            head_end = tag.start()
        if tag.start() < tail_start < tag.end():
            tail_start = tag.end()
    before, after = _list_open_tags(text[:head_end]), _list_open_tags(text[:tail_start])
    mark = f'<trimmed characters="{tail_start - head_end}"/>'
    closing = "".join(f"\n</{_NAME.findall(tag)[0]}>" for tag in reversed(before))
    opening = "".join(f"\n{tag}" for tag in after)
    return f"{text[:head_end]}{closing}\n{mark}{opening}\n{text[tail_start:]}"


def _list_open_tags(text: str) -> list[str]:
    """Return the tags that are open at the end of a text, outermost first."""
    open_tags: list[str] = []
    for tag in _TAG.finditer(text):
        if tag[0].startswith("</"):
            open_tags = open_tags[:-1]
        elif not tag[0].endswith("/>"):
            open_tags.append(tag[0])
    return open_tags


def _find_cap(tokens: Sequence[int], budget: int) -> int:
    """Return the largest `cap` for which the sum of `min(count, cap)` is within the budget."""
    left = budget
    for num_done, count in enumerate(sorted(tokens)):
        cap = left // (len(tokens) - num_done)
        if count > cap:
            return cap
        left -= count
    return max(tokens)
