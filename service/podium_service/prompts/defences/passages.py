"""Find the words of a text that made its flags, for people to see.

The patterns of `steering` see a text without its disguises, whose positions are not those of the
text. So the shortest run of words that still has the flag is looked for, by halving.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podium_service.prompts.defences.steering import search_steering

MAX_PASSAGES = 20  # of a text
_WORD = re.compile(r"\S+")
_WINDOW = 4000  # characters that are searched at once
_OVERLAP = 1000  # more than any pattern spans


@dataclass(frozen=True, slots=True)
class Passage:
    """Words of a text, from `start` to before `stop`, that have a flag of this name."""

    start: int
    stop: int
    name: str


def find_passages(text: str, names: Sequence[str]) -> list[Passage]:
    """Return the shortest passages that have these flags, in order; at most `MAX_PASSAGES`."""
    found: list[Passage] = []
    for name in names:
        found += _find_all(text, name, MAX_PASSAGES - len(found))
    return sorted(found, key=lambda each: (each.start, each.stop))


def _find_all(text: str, name: str, most: int) -> list[Passage]:
    found: list[Passage] = []
    for start, stop in _split(text):
        words = [(word.start(), word.end()) for word in _WORD.finditer(text, start, stop)]
        if found:
            words = [word for word in words if word[0] >= found[-1].stop]
        while words and len(found) < most and name in search_steering(_join(text, words)):
            first, last = _narrow(text, words, name)
            found.append(Passage(words[first][0], words[last][1], name))
            words = words[last + 1 :]
    return found


def _narrow(text: str, words: Sequence[tuple[int, int]], name: str) -> tuple[int, int]:
    """Return the first and the last word of the first passage among words that have the flag."""

    def ends_by(last: int) -> bool:
        return name in search_steering(_join(text, words[: last + 1]))

    last = bisect_left(range(len(words) - 1), True, key=ends_by)

    def begins_after(first: int) -> bool:
        return name not in search_steering(_join(text, words[first : last + 1]))

    return bisect_left(range(last + 1), True, key=begins_after) - 1, last


def _join(text: str, words: Sequence[tuple[int, int]]) -> str:
    return text[words[0][0] : words[-1][1]]


def _split(text: str) -> Iterator[tuple[int, int]]:
    """Yield overlapping windows over a text, which begin and end between words."""
    start = 0
    while True:
        stop = _next_space(text, start + _WINDOW)
        yield start, stop
        if stop >= len(text):
            return
        start = _next_space(text, stop - _OVERLAP)


def _next_space(text: str, at: int) -> int:
    space = re.compile(r"\s").search(text, at)
    return space.start() if space else len(text)
