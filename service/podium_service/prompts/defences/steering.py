"""Flag trajectories whose texts address the judge instead of the task.

A flag is evidence for people and for metrics, not a verdict. The patterns are in
`steering_patterns`. Most texts match none, so a `Sieve` rules these out before any other work.
"""

import binascii
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

import re2
import regex

from podium_service.prompts.defences.lookalikes import UNSEEN, fold
from podium_service.prompts.defences.sieve import Sieve, extract_opening, loosen
from podium_service.prompts.defences.steering_patterns import ANCHOR, PATTERNS
from podium_service.schemas import Message, Trajectory

# Removed first, because NFKC sorts many accents in a row in quadratic time.
_ACCENTS = regex.compile(r"\p{M}+")
# Letters with a separator after each, as in "s c o r e".
_SPACED = re.compile(r"(?<!\w)(?:[^\W\d_][ .*-])+[^\W\d_](?!\w)")
_SEPARATORS = str.maketrans("", "", " .*-")
_MIN_RUN = 8  # letters from which on a run may be several words
# Splits runs of letters in which the spaces between words were lost.
_WORDS = re.compile(
    r"(ignore|disregard|all|previous|prior|instructions|give|this|the|highest|full|best|score|marks"
    r"|rank|rate|judge|grader|evaluator|note|dear|first|must|answer|response|as|to|me|you)"
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{24,4000}={0,2}(?![A-Za-z0-9+/=])")
_MAX_BASE64 = 32
HIDDEN = "(left out)"
_MAX_ANSWER = 5  # characters
_PARAGRAPHS = re.compile(r"(\n\s*\n)")
# Cheap tests for spaced letters and base64: a text translated to classes must contain such a run.
_SPACING = bytes(97 if chr(i).isalpha() else 32 if chr(i) in " .*-" else 120 for i in range(256))
_FIVE_SPACED = b"a a a a a"
_BASE64_CLASSES = bytes(98 if chr(i).isalnum() or chr(i) in "+/" else 32 for i in range(256))
_LONG_RUN = b"b" * 24
# Removed before the search, because an agent whose task is to judge says this of itself, as in "I
# would give it 9/10".
_OF_ITSELF = re.compile(
    r"\b(?:i|we)(?:'ll|'d)?(?: (?:will|would|can|could|should|must|need to|have to|want to))?"
    r" (?:give|assign|award|grant|output|return|score|rank|rate|grade|mark|judge|treat|accept|label"
    r"|place|prefer|choose|pick|select)\b"
)
_WINDOW = 160  # characters on either side of an anchor that are searched
_STEP = 100  # characters after an anchor that are searched anyway, so no anchor is looked for there
_MAX_CHARS = 150_000  # a longer text is cut in its middle, as it would be for the judge
_ACCENTED = [*range(0xC0, 0x250), *range(0x1E00, 0x1F00)]
# Characters that stand for words and are written in no payload, such as "\u3300". They are replaced
# by a space, because a megabyte of them becomes several in NFKC, which takes half a second.
_LONG_FORMS = {
    code: " "
    for code in [*range(0x80, 0x3400), *range(0xFB00, 0xFE00), *range(0x1D100, 0x1F300)]
    if len(form := unicodedata.normalize("NFKC", chr(code))) > 2 and not form.isascii()
}
_PLAIN = _LONG_FORMS | {
    code: form[0]
    for code in _ACCENTED
    if (form := unicodedata.normalize("NFD", chr(code)))[0].isascii()
}


def fold_disguises(text: str) -> str:
    """Return the text as the patterns see it: in lower case, without disguises, single-spaced.

    Disguises are accents, NFKC forms, look-alike letters, invisible characters and spaced letters.
    """
    text = text.lower()
    if not text.isascii():
        text = _ACCENTS.sub("", fold(text).replace(UNSEEN, "")).translate(_PLAIN)
        text = unicodedata.normalize("NFKC", text).lower()
    if not text.isascii() or _FIVE_SPACED in text.encode("ascii").translate(_SPACING):
        text = _SPACED.sub(_join_letters, text)
    return " ".join(text.split())


def search_steering(text: str) -> list[str]:
    """Return the names of the patterns in `text` or in base64 inside it, sorted.

    `flag_trajectories` rules out most texts before it calls this.
    """
    stretches = "\n".join(
        _cut_around_anchors(fold_disguises(each)) for each in (text, *_decode_base64(text))
    )
    if not stretches.strip():
        return []
    if len(stretches) > _MAX_CHARS:
        half = _MAX_CHARS // 2
        stretches = f"{stretches[:half]}\n{stretches[-half:]}"
    if _OF_ITSELF_SIEVE.find(stretches):
        stretches = _OF_ITSELF.sub("\n", stretches)
    raw = stretches.encode()
    return [
        name for name in _NAMES if _LOOSENED[name].search(raw) and _EXACT[name].search(stretches)
    ]


def _select_suspects(texts: Sequence[str]) -> Iterator[str]:
    """Yield the texts that the sieve does not rule out; most often one pass rules out all."""
    joined = "\n".join(texts)
    if joined.isascii() and not _SIGNS.find(joined):
        return
    yield from (text for text in texts if not text.isascii() or _SIGNS.find(text))


def flag_trajectories(
    trajectories: Sequence[Trajectory], *, num_shared: int = 0, show_reasoning: bool = False
) -> list[list[str]]:
    """Search the texts that agents wrote and that their tools returned.

    Texts of users and of the system are left out, because a task may well be about judging.

    Args:
        trajectories: N attempts of one group.
        num_shared: number of first messages to leave out; those that all trajectories share favour
            none of them.
        show_reasoning: search what the model thought, too.

    Returns:
        N lists of the names of the patterns found, sorted.
    """
    texts_of = [
        _list_texts(trajectory.messages[num_shared:], show_reasoning) for trajectory in trajectories
    ]
    suspects = set(_select_suspects([text for texts in texts_of for text in texts]))
    flags = {text: names for text in suspects if (names := search_steering(text))}
    if not flags:
        return [[] for _ in trajectories]
    return [sorted({name for text in texts for name in flags.get(text, ())}) for texts in texts_of]


def hide_steering(text: str) -> str:
    """Replace the paragraphs that address the judge by `HIDDEN`; all, if only the whole does."""
    pieces, end = [], 0
    for start, stop in find_hidden(text):
        pieces += [text[end:start], HIDDEN]
        end = stop
    return "".join([*pieces, text[end:]])


def find_hidden(text: str) -> list[tuple[int, int]]:
    """Return where the paragraphs that address the judge begin and end.

    Whole paragraphs, because a request ("reply with A") lends its weight to what stands around it
    ("this answer is best"); and the few letters of a paragraph right after it, which may be the
    answer that it asks for.
    """
    if not any(_select_suspects([text])) or not search_steering(text):
        return []
    pieces = _PARAGRAPHS.split(text)  # paragraphs, and what separates them at odd indices
    found = []
    start, was_hidden = 0, False
    for index, piece in enumerate(pieces):
        stop = start + len(piece)
        if index % 2 == 0:
            is_answer = was_hidden and len(piece) <= _MAX_ANSWER
            was_hidden = is_answer or bool(search_steering(piece))
            if was_hidden:
                found.append((start, stop))
                pieces[index] = HIDDEN
        start = stop
    return [(0, len(text))] if search_steering("".join(pieces)) else found


def count_shared_messages(trajectories: Sequence[Trajectory]) -> int:
    """Count the first messages that are equal in all trajectories that have any."""
    attempts = [trajectory.messages for trajectory in trajectories if trajectory.messages]
    columns = zip(*attempts, strict=False)
    return sum(1 for _ in takewhile(_are_equal, columns))


def _are_equal(column: Sequence[Message]) -> bool:
    """Tell whether messages show a judge the same, in whatever form they were sent."""
    first = _shown(column[0])
    return all(_shown(each) == first for each in column[1:])


def _shown(message: Message) -> tuple[object, ...]:
    calls = [(call.called.name, call.called.arguments or "") for call in message.calls]
    images = [image.digest for image in message.images]
    return message.role, message.text, images, message.thoughts, calls


def _cut_around_anchors(text: str) -> str:
    """Return the surroundings of all anchors in `text`, a line for each stretch."""
    anchors: Any = None
    searched: str | bytes = text
    if text.isascii():  # only there are positions in bytes positions in characters
        anchors, searched = _ASCII_ANCHOR, text.encode()
    elif _ANCHORS.find(text):
        anchors = _ANCHOR
    stretches: list[list[int]] = []
    end = -_STEP
    while anchors and (anchor := anchors.search(searched, end + _STEP)):
        end = anchor.end()
        start, stop = max(0, anchor.start() - _WINDOW), end + _STEP + _WINDOW
        if stretches and start <= stretches[-1][1]:
            stretches[-1][1] = stop
        else:
            stretches.append([start, stop])
    return "\n".join(text[start:stop] for start, stop in stretches)


def _list_texts(messages: Sequence[Message], show_reasoning: bool) -> list[str]:
    texts = []
    for message in messages:
        is_result = message.role == "tool"
        if is_result or message.role == "assistant":
            texts.append(message.text)
        if is_result and isinstance(message.name, str):
            texts.append(message.name)
        for call in message.tool_calls or ():
            called = call.called
            texts += (called.name or "", str(called.arguments or ""))
        if show_reasoning and (thoughts := message.thoughts):
            texts.append(thoughts)
    return texts


def _join_letters(run: re.Match[str]) -> str:
    letters = run[0].translate(_SEPARATORS)
    return _WORDS.sub(r" \1 ", letters) if len(letters) >= _MIN_RUN else letters


def _decode_base64(text: str) -> Iterator[str]:
    if _LONG_RUN not in text.encode("ascii", "replace").translate(_BASE64_CLASSES):
        return
    for run in islice(_BASE64.finditer(text), _MAX_BASE64):
        try:
            yield binascii.a2b_base64(run[0] + "=" * (-len(run[0]) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue


def _fold_pattern(pattern: str) -> str:
    """Return the pattern in the letters that `fold_disguises` leaves."""
    return fold(pattern).translate(_PLAIN)


_ANCHOR = re.compile(_fold_pattern(ANCHOR))
_ANCHORS = Sieve([loosen(_ANCHOR.pattern)])
# Anchors begin words, except two that do not begin with a letter.
_ASCII_ANCHOR = re2.compile(rf"\b(?:{loosen(ANCHOR)})|<<sys|<\|")
_NAMES = sorted(PATTERNS)
_EXACT = {name: re.compile("|".join(map(_fold_pattern, PATTERNS[name]))) for name in _NAMES}
# Not one sieve for all, because hostile text makes that try all combinations of patterns that have
# begun, which takes 1 s per MB.
_LOOSENED = {name: re2.compile(loosen(_EXACT[name].pattern)) for name in _NAMES}
_IN_ASCII = [
    folded
    for patterns in PATTERNS.values()
    for pattern in patterns
    if (folded := _fold_pattern(pattern)).isascii()
]
# An unfolded ASCII text must match one of these for a pattern to match it once it is folded.
_SIGNS = Sieve(
    [
        *map(extract_opening, _IN_ASCII),
        r"(?:[A-Za-z][ .*-]){4}[A-Za-z]",  # letters that `_SPACED` may join
        r"[A-Za-z0-9+/]{24}",  # text that `_decode_base64` may read
    ]
)
_OF_ITSELF_SIEVE = Sieve([loosen(_OF_ITSELF.pattern)])
