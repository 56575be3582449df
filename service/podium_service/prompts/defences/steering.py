"""What an agent wrote or was given -> the ways in which it speaks to a judge instead of its task.

A flag is evidence for people and for metrics, not a verdict. The patterns are in
`steering_patterns`. Most texts hold none: what a `Sieve` holds back is not looked at any closer.
"""

import binascii
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Protocol

import re2
import regex

from podium_service.prompts.defences.lookalikes import UNSEEN, fold
from podium_service.prompts.defences.sieve import Sieve, extract_opening, loosen
from podium_service.prompts.defences.steering_patterns import ANCHOR, PATTERNS
from podium_service.schemas import Message, Trajectory

# Many in a row, which NFKC would sort in quadratic time.
_ACCENTS = regex.compile(r"\p{M}+")
# s c o r e -> score
_SPACED = re.compile(r"(?<!\w)(?:[^\W\d_][ .*-])+[^\W\d_](?!\w)")
_SEPARATORS = str.maketrans("", "", " .*-")
_MIN_RUN = 8
# Where even the spaces between words were lost.
_WORDS = re.compile(
    r"(ignore|disregard|all|previous|prior|instructions|give|this|the|highest|full|best|score|marks"
    r"|rank|rate|judge|grader|evaluator|note|dear|first|must|answer|response|as|to|me|you)"
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,4000}={0,2}(?![A-Za-z0-9+/=])")
_MAX_BASE64 = 32
# Cheap signs that one of the two can occur at all: characters by class, a run of classes.
_SPACING = bytes(97 if chr(i).isalpha() else 32 if chr(i) in " .*-" else 120 for i in range(256))
_FIVE_SPACED = b"a a a a a"
_BASE64_CLASSES = bytes(98 if chr(i).isalnum() or chr(i) in "+/" else 32 for i in range(256))
_LONG_RUN = b"b" * 24
# A judge at work says of itself what is steering when said to a judge.
_OF_ITSELF = re.compile(
    r"\b(?:i|we)(?:'ll|'d)?(?: (?:will|would|can|could|should|must|need to|have to|want to))?"
    r" (?:give|assign|award|grant|output|return|score|rank|rate|grade|mark|judge|treat|accept|label"
    r"|place|prefer|choose|pick|select)\b"
)
_WINDOW = 160
# More than that is cut in the middle, as it would be for the judge.
_MAX_CHARS = 150_000
_ACCENTED = [*range(0xC0, 0x250), *range(0x1E00, 0x1F00)]
# Their normal forms are long enough to be an attack of their own.
_LONG_FORMS = dict.fromkeys((0xFDFA, 0xFDFB), " ")
_PLAIN = _LONG_FORMS | {
    code: form[0]
    for code in _ACCENTED
    if (form := unicodedata.normalize("NFD", chr(code)))[0].isascii()
}


class Span(Protocol):
    """A match, of `re` or of `re2`."""

    def start(self) -> int: ...

    def end(self) -> int: ...


def fold_disguises(text: str) -> str:
    """The text as the patterns see it; disguises (NFKC forms, look-alikes, gaps) are off."""
    text = text.lower()
    if not text.isascii():
        text = _ACCENTS.sub("", fold(text).replace(UNSEEN, "")).translate(_PLAIN)
        text = unicodedata.normalize("NFKC", text).lower()
    if not text.isascii() or _FIVE_SPACED in text.encode("ascii").translate(_SPACING):
        text = _SPACED.sub(_joined, text)
    return " ".join(text.split())


def flag_text(text: str) -> list[str]:
    """The names of the patterns found in `text`, sorted; also in what it holds as base64."""
    return _flags(text) if any(_suspects([text])) else []


def _flags(text: str) -> list[str]:
    """The same, without that first look."""
    seen = "\n".join(_suspect(fold_disguises(each)) for each in (text, *_decoded(text)))
    if not seen.strip():
        return []
    seen = _middle_cut(seen)
    if _OF_ITSELF_SIEVE.find(seen):
        seen = _OF_ITSELF.sub("\n", seen)
    raw = seen.encode()
    return [name for name in _NAMES if _LOOSENED[name].search(raw) and _EXACT[name].search(seen)]


def _suspects(texts: Sequence[str]) -> Iterator[str]:
    """Those in which there may be something: most often none, which one look at all tells."""
    together = "\n".join(texts)
    if together.isascii() and not _SIGNS.find(together):
        return
    yield from (text for text in texts if not text.isascii() or _SIGNS.find(text))


def flag_trajectories(
    trajectories: Sequence[Trajectory], *, num_shared: int = 0
) -> list[list[str]]:
    """For each trajectory, the names of the patterns found in what the agent wrote or its tools
    returned, sorted.

    What users and the system said is left out: a task may well be about judging.

    Args:
        trajectories: the attempts.
        num_shared: how many of their first messages to leave out, too: those that all trajectories
            of the group share favour none of them.
    """
    written = [_written(trajectory.messages[num_shared:]) for trajectory in trajectories]
    suspects = set(_suspects([text for texts in written for text in texts]))
    flags = {text: names for text in suspects if (names := _flags(text))}
    if not flags:
        return [[] for _ in trajectories]
    return [sorted({name for text in texts for name in flags.get(text, ())}) for texts in written]


def count_shared_messages(trajectories: Sequence[Trajectory]) -> int:
    """How many first messages are equal in all trajectories."""
    columns = zip(*(trajectory.messages for trajectory in trajectories), strict=False)
    equal = takewhile(lambda column: all(each == column[0] for each in column[1:]), columns)
    return sum(1 for _ in equal)


def _suspect(text: str) -> str:
    """The surroundings of all anchors in `text`, a line for each stretch."""
    stretches: list[list[int]] = []
    for anchor in _anchors(text):
        start, stop = max(0, anchor.start() - _WINDOW), anchor.end() + _WINDOW
        if stretches and start <= stretches[-1][1]:
            stretches[-1][1] = stop
        else:
            stretches.append([start, stop])
    return "\n".join(text[start:stop] for start, stop in stretches)


def _anchors(text: str) -> Iterable[Span]:
    if text.isascii():  # where bytes are characters
        found: Iterable[Span] = _ASCII_ANCHOR.finditer(text.encode())
        return found
    return _ANCHOR.finditer(text) if _ANCHORS.find(text) else ()


def _middle_cut(text: str) -> str:
    half = _MAX_CHARS // 2
    return text if len(text) <= _MAX_CHARS else f"{text[:half]}\n{text[-half:]}"


def _written(messages: Sequence[Message]) -> list[str]:
    texts = []
    for message in messages:
        if message.role in ("assistant", "tool"):
            texts.append(message.text)
        for call in message.tool_calls or ():
            texts += (call.function.name, str(call.function.arguments))
    return texts


def _joined(run: re.Match[str]) -> str:
    letters = run[0].translate(_SEPARATORS)
    return _WORDS.sub(r" \1 ", letters) if len(letters) >= _MIN_RUN else letters


def _decoded(text: str) -> Iterator[str]:
    if _LONG_RUN not in text.encode("ascii", "replace").translate(_BASE64_CLASSES):
        return
    for number, run in enumerate(_BASE64.finditer(text)):
        if number == _MAX_BASE64:
            return
        try:
            yield binascii.a2b_base64(run[0] + "=" * (-len(run[0]) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def _plain(pattern: str) -> str:
    """The pattern in the letters that `fold_disguises` leaves."""
    return fold(pattern).translate(_PLAIN)


_ANCHOR = re.compile(_plain(ANCHOR))
_ANCHORS = Sieve([loosen(_ANCHOR.pattern)])
# Only at the beginnings of words, but for two that begin with no letter.
_ASCII_ANCHOR = re2.compile(rf"\b(?:{loosen(ANCHOR)})|<<sys|<\|")
_NAMES = sorted(PATTERNS)
_EXACT = {name: re.compile("|".join(map(_plain, PATTERNS[name]))) for name in _NAMES}
# Not all in one sieve: hostile text has that try all combinations of patterns begun, 1 s a MB.
_LOOSENED = {name: re2.compile(loosen(_EXACT[name].pattern)) for name in _NAMES}
_IN_ASCII = [
    plain for each in PATTERNS.values() for one in each if (plain := _plain(one)).isascii()
]
# What an ASCII text must hold, as it comes, for a pattern to be found when it is folded.
_SIGNS = Sieve(
    [
        *map(extract_opening, _IN_ASCII),
        r"(?:[A-Za-z][ .*-]){4}[A-Za-z]",  # which `_SPACED` may join
        r"[A-Za-z0-9+/]{24}",  # which `_decoded` may read
    ]
)
_OF_ITSELF_SIEVE = Sieve([loosen(_OF_ITSELF.pattern)])
