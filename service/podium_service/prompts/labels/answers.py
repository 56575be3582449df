"""Find the label that a text answers with; a text with two readings is a fault, never a guess.

These are answers, and nothing else is (see `phrases` for the words):

    a line of its own    the first or the last one: `K`, `**K**`, `(K)`, `Answer: K`, `8/9`
    a beginning          set off by a mark or a reason: `K, because ...`, `7 (0 is worst)`
    a clause             of known words only: `The better one is K`, `I choose K`, `Rating: 8`
    an end               `..., so K`
    a comparison         `K is best`; of two also `K is better than B`, `B is worse than K`

A clause does not count in a question, after a negation or a condition, before an alternative
(`K or B`), or as what an attempt says. All answers in a text must name the same label, and nothing
may take it back (`wait`, `actually`, `K (wrong)`, `K. But ...`). A letter counts in upper case
only, and `A` only where no article can stand. A text that was cut off counts only if its first line
is the answer.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podium_service.prompts.labels.phrases import CONTRAST, Phrases, phrases_for
from podium_service.prompts.labels.taken_back import CROSSES
from podium_service.prompts.reply import Place
from podium_service.prompts.verdict import Fault

# Marks that are read as others, and decoration that is read as blanks, all of the same length.
_MARKS = str.maketrans("\u3002\u2019\u2013\u2014", ".'--") | {
    code: code - 0xFEE0  # the full-width forms of ASCII
    for code in range(0xFF01, 0xFF5F)
}
_BRACKETS = str.maketrans("()[]<>", "      ")
_DECORATION = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?(?:s|answer|final|verdict|choice|rating|score|strong)>|\\[a-z]{4,8}\{"
    '|["*_`#~{}$\u201c-\u201e\u00ab\u00bb\u300c\u300d]'
    "|[\u2600-\u27bf\ufe0f\u200d\u20e3\U0001f000-\U0001faff]|(?<![a-z])'|'(?![a-z])",
    re.IGNORECASE,
)
_LINE = re.compile(r"[^\n]*\S[^\n]*")
_SENTENCE_ENDS = ".!?;\n"
_MAX_SENTENCE_CHARS = 1000
_DOUBT = re.compile(
    r"\b(?:not|never|neither|nor|no|if|whether|unless|when|could|might|may|maybe|perhaps|possibly"
    r"|seems?|first|initially|glance|worse|worst)\b|n't",
    re.IGNORECASE,
)
_SECOND_THOUGHT = re.compile(
    r"\b(?:wait|actually|hmm+|second thoughts?|on reflection|reconsider\w*|correction|scratch that"
    r"|sorry|changed? my mind)\b",
    re.IGNORECASE,
)
_REPORTED = re.compile(
    r"\b(?:says?|said|claim(?:s|ed)|writes|wrote|(?:tells|told)(?:\s\w+)?)(?:\s+that)?[\s:,-]*\Z",
    re.IGNORECASE,
)
_CONTRAST = re.compile(rf"\b(?:{CONTRAST})\b", re.IGNORECASE)
_STATED = re.compile(r"\bis\b", re.IGNORECASE)
_IS = re.compile(r"\bis\b|:", re.IGNORECASE)
_SURE = re.compile(r"\b(?:my|final)\b", re.IGNORECASE)

_Match = re.Match[str]


@dataclass(frozen=True, slots=True)
class NamedLabel:
    """The label that answers, and where it stands in the text."""

    label: str
    start: int


def find_label(text: str, labels: Sequence[str], place: Place = "anywhere") -> NamedLabel:
    """Return the label that a text answers with, by the rule above.

    Args:
        text: the reply, without its thoughts.
        labels: digits, or words, or upper-case letters with or without signs.
        place: `alone` if only the first line may answer, `end` if only the last line may.

    Raises:
        Fault: If it names no label, or if it is not clear which.
    """
    phrases = phrases_for(labels)
    plain = _simplify(text, phrases)
    if not plain.strip():
        raise Fault("it is empty")
    answers = sorted(
        _find_answers(text, plain, phrases, place), key=lambda match: match.start("label")
    )
    named = {match["label"].casefold() for match in answers}
    label = next((each for each in labels if named == {each.casefold()}), None)
    is_taken_back = any(phrases.taken_back.match(plain, match.end("label")) for match in answers)
    is_taken_back |= bool(phrases.other_scale and phrases.other_scale.search(plain))
    if label and not is_taken_back and not _SECOND_THOUGHT.search(plain, answers[-1].end()):
        return NamedLabel(label, answers[0].start("label"))
    if place == "end" and not answers:
        raise Fault("it is empty")
    if not answers and not mentions_label(text, labels):
        raise Fault(f"it names none of {', '.join(labels)}")
    raise Fault(f"it is not clear which of {', '.join(labels)} it names")


def mentions_label(text: str, labels: Sequence[str]) -> bool:
    """Return whether a label stands anywhere in a text, as an answer or not."""
    named = {match["label"].casefold() for match in phrases_for(labels).mention.finditer(text)}
    return any(label.casefold() in named for label in labels)


def _simplify(text: str, phrases: Phrases) -> str:
    """Return a text of the same length, without emphasis, quotes and brackets around labels."""
    kept = CROSSES if phrases.comparisons else ""
    plain = _DECORATION.sub(
        lambda mark: mark[0] if mark[0] in kept else " " * len(mark[0]), text.translate(_MARKS)
    )
    plain = phrases.bracketed.sub(lambda mark: mark[0].translate(_BRACKETS), plain)
    # A letter that is all there is cannot be an article.
    return plain.upper() if len(plain.strip(" .!\n")) == 1 else plain


def _find_answers(text: str, plain: str, phrases: Phrases, place: Place) -> list[_Match]:
    """Return all answers in a simplified text, and those that contradict them."""
    spans = [match.span() for match in _LINE.finditer(plain)]
    lines = [_match_line(plain, span, phrases, is_only=len(spans) == 1) for span in spans]
    if place == "end":
        return [lines[-1]] if lines[-1] else []
    if place == "alone" and not _is_whole(text, lines):
        return []
    answers = [line for line in {lines[0], lines[-1]} if line]
    answers += _find_in_prose(plain, phrases)
    return answers and [*answers, *(line for line in lines[1:-1] if line)]


def _is_whole(text: str, lines: Sequence[_Match | None]) -> bool:
    """Return whether the first line of a text that was cut off is an answer.

    Words may have followed a label, or the other digits of a number. A line of its own may head
    what is said about an attempt.
    """
    first = lines[0]
    if first is None:
        return False
    if len(lines) == 1:
        return not first["marker"] and not (first["label"].isdigit() and "." in text)
    if first["marker"]:
        return bool(_IS.search(first["marker"]))
    return not (first["noun"] or text.lstrip().startswith("#"))


def _match_line(
    plain: str, span: tuple[int, int], phrases: Phrases, *, is_only: bool
) -> _Match | None:
    """Return the answer that a line is; the task's own answer may be a digit, too."""
    line = plain[slice(*span)]
    start = span[0] + len(line) - len(line.lstrip())
    match = phrases.line.fullmatch(plain, start, start + len(line.strip()))
    if match and match["weak"] and match["label"].isdigit():
        return match if is_only and not _STATED.search(match["marker"]) else None
    return match


def _find_in_prose(plain: str, phrases: Phrases) -> Iterator[_Match]:
    beginning = phrases.beginning.match(plain)
    if beginning and not _is_item(beginning, plain, phrases):
        yield beginning
    for pattern in phrases.clauses:
        for match in pattern.finditer(plain):
            if _is_stated(match, plain) and _is_sure(match, plain, phrases):
                yield match
    contrast_at = max((match.start() for match in _CONTRAST.finditer(plain)), default=-1)
    for pattern in phrases.comparisons:
        for match in pattern.finditer(plain):
            if match.end() > contrast_at and _is_stated(match, plain):
                yield match


def _is_item(beginning: _Match, plain: str, phrases: Phrases) -> bool:
    """Return whether the label at the beginning may number a list, or name what is discussed."""
    own = beginning["label"]
    items = phrases.item.finditer(plain)
    return any(
        item["label"].casefold() != own.casefold()
        or (own.isdigit() and item["mark"] in {".", ":", ")"})
        for item in items
    )


def _is_stated(match: _Match, plain: str) -> bool:
    """Return whether a clause is neither asked nor negated nor supposed nor quoted."""
    before = plain[max(0, match.start() - _MAX_SENTENCE_CHARS) : match.start()]
    after = plain[match.end() : match.end() + _MAX_SENTENCE_CHARS]
    begin = 1 + max(before.rfind(mark) for mark in _SENTENCE_ENDS)
    end = min((end for mark in _SENTENCE_ENDS if (end := after.find(mark)) >= 0), default=-1)
    if _DOUBT.search(before, begin) or _REPORTED.search(before, begin):
        return False
    return after[end : end + 1] != "?"


def _is_sure(match: _Match, plain: str, phrases: Phrases) -> bool:
    """Return whether a clause speaks of the judge's answer, and not of one in the task."""
    if not match.groupdict().get("weak"):
        return True
    if match["label"].isdigit():
        return False
    named = {mention["label"] for mention in phrases.mention.finditer(plain)}
    return named == {match["label"]} or bool(_SURE.search(match[0]))
