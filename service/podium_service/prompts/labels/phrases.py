r"""The phrases in which judges name their answer, as patterns for each kind of label.

A pattern matches a clause from its beginning, and knows all of its words. So an unknown word, such
as `worse` in `The worse one is K`, hides the clause. Texts are simplified first, see `answers`.

To read another phrase, add its words here and a row to the table in the tests.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from podium_service.prompts.labels.taken_back import OTHER_SCALE, TAKEN_BACK, Kind

CONTRAST = "but|however|yet|though|although|except"
_LEAD = (
    r"(?:(?:so|thus|therefore|hence|then|overall|finally|in conclusion|in summary|to conclude|sure"
    r"|okay|ok|the|my|this|here|it|is|it's|that|i think|i believe|final)[\s,]++)*+"
)
_NOUNS = "the|one|option|answer|response|trajectory|attempt|candidate|solution|choice|letter"
_TAIL = rf"(?:\s++(?:{_NOUNS}|of the two|of all|overall|here|clearly)\b)*+"
_MARKERS: dict[Kind, str] = {
    "letters": "better|best|winner|verdict|choice|pick|decision|preference|preferred",
    "digits": "rating|score|grade|verdict",
    "words": "verdict|conclusion|decision",
}
# These may also speak of the task: of the agent's own answer, or of an option in a quiz.
_WEAK_MARKERS = "answer|result"
_IS = r"(?:\s++is\b\s*+[:-]?|\s*+[:-])"
_I = r"(?:i|we)(?:'d|'ll)?\s++(?:(?:would|will|must|therefore|thus|clearly|strongly)\s++)*+"
_CHOOSE: dict[Kind, str] = {
    "letters": rf"{_I}(?:choose|pick|prefer|select|favou?r|vote for|go with|say|answer(?: with)?)",
    "digits": rf"{_I}(?:rate|give|score|assign|award|say)(?:\s++(?:it|this|the|one|trajectory"
    r"|attempt|answer|agent|a|an|as|at|with|rating|score|of)\b)*+",
    "words": rf"{_I}(?:say|answer(?: with)?)",
}
_SO = r"\b(?:so|thus|therefore|hence)[,:]?\s++(?:it is |it's |i say )?"
_VERY = r"(?:(?:clearly|much|far|slightly|a bit|overall|definitely|the|also)\s++)*+"
_BEST = "best|strongest|winner"
_BETTER = rf"{_BEST}|better|superior|stronger|preferable|preferred"
_BEATS = r"beats\b|outperforms\b|surpasses\b|defeats\b|wins over\b|>"
_LOSES = rf"is\s++{_VERY}(?:worse|weaker|poorer)\s++than\b|is inferior to\b|loses to\b|<"
_REASON = "because|since|as(?! well)|over|rather than|instead of|not"
_LATIN = "A-Za-z0-9\u00c0-\u024f"
# Bounded, because each of many newlines in a row can be the one before.
_START = r"(?:\A\s*+|(?<=[.!?;,:\n(>-])\s{0,40}+)"


@dataclass(frozen=True, slots=True)
class Phrases:
    """The patterns for some labels. In those of answers the group `label` is the answer.

    Attributes:
        mention: a label that is no part of a word, as an answer or not.
        bracketed: a label in brackets.
        line: a line that is an answer; `marker` and `noun` are the words before the label.
        beginning: the beginning of a text that is an answer.
        item: a label and the `mark` that begin an item of a list, or a part about one label.
        taken_back: what follows a label that is no answer after all.
        other_scale: words, anywhere, by which no digit is an answer; None where there are none.
        clauses: answers in sentences.
        comparisons: likewise; they may have the group `other`, the label compared with.

    In lines and clauses, `weak` is set where the words may also speak of the task.
    """

    mention: re.Pattern[str]
    bracketed: re.Pattern[str]
    line: re.Pattern[str]
    beginning: re.Pattern[str]
    item: re.Pattern[str]
    taken_back: re.Pattern[str]
    other_scale: re.Pattern[str] | None
    clauses: list[re.Pattern[str]]
    comparisons: list[re.Pattern[str]]


def phrases_for(labels: Sequence[str]) -> Phrases:
    """Return the phrases for digits, for words, or for upper-case letters with or without signs."""
    if all(label.isdigit() for label in labels):
        return _compile("digits", "[0-9]", highest=max(labels))
    if any(len(label) > 1 for label in labels):
        return _compile("words", "|".join(map(re.escape, labels)))
    letters = [label for label in labels if label.isalpha()]
    signs = "".join(f"|{re.escape(each)}" for each in labels if not each.isalpha())
    # Any letter, so that one that was not shown is a fault; but not the pronoun.
    any_letter = "[A-Z]" if "I" in letters else "[A-HJ-Z]"
    return _compile("letters", f"(?-i:{any_letter}){signs}", is_pair=len(letters) == 2)


@lru_cache(maxsize=64)  # few are used, because all sets of letters share their patterns
def _compile(kind: Kind, any_label: str, *, highest: str = "", is_pair: bool = False) -> Phrases:
    before = rf"(?<![{_LATIN}/+_&%])(?<![A-Za-z0-9]-)"
    after = rf"(?![{_LATIN}_+/%&])(?!\s{{0,3}}/)(?!-\w)"
    if kind == "digits":
        before += r"(?<!-)(?<!\d[.,])"
        scale = rf"(?:\s{{0,3}}(?:/|out of|of)\s{{0,3}}{highest}(?!\d|[.,/]\d))?+"
        after = rf"{scale}{after}(?!\s?[.,]\d)(?!\s?-\s?\d)"
    label = f"{before}(?P<label>{any_label}){after}"
    other = f"{before}(?P<other>{any_label}){after}"
    noun = rf"(?:(?:{_NOUNS})\s++)*+" if kind == "letters" else ""
    end = (
        rf"(?=[ \t]*+(?:\Z|\n|[.!;)](?!\d)|\((?!\s?(?:out|of|or|and)\b)|-\s(?=[a-z]{{2}})"
        rf"|,(?!\s*(?:and|or|{CONTRAST})\b)(?!\s*(?:{any_label})(?![{_LATIN}]))|(?:{_REASON})\b))"
    )
    marked = rf"(?:(?P<weak>{_WEAK_MARKERS})|{_MARKERS[kind]}){_TAIL}"
    return Phrases(
        mention=_pattern(rf"(?<![{_LATIN}])(?P<label>{any_label})(?![{_LATIN}])"),
        bracketed=_pattern(rf"[(\[<]{{1,2}}\s?(?:{any_label})\s?[)\]>]{{1,2}}"),
        line=_pattern(
            rf"{_LEAD}(?P<marker>{marked}{_IS}?\s*+)?(?P<noun>{noun})"
            rf"[(\[]?{label}[)\]]?[ \t]*+[.!]*+"
        ),
        beginning=_pattern(rf"\A\s*+{noun}{label}{end}"),
        item=_pattern(
            rf"(?:\A|[.!?;,\n(-]|\b(?:but|and)\b)\s{{0,40}}+{label}[ \t]*+"
            rf"(?=(?P<mark>[{',' if kind == 'words' else ''}.:;!)-](?=\s|\Z)|\(|\Z))"
        ),
        taken_back=_pattern(TAKEN_BACK[kind]),
        other_scale=_pattern(OTHER_SCALE) if kind == "digits" else None,
        clauses=[
            _pattern(rf"{_START}{_LEAD}{marked}{_IS}\s*+{noun}{label}{end}"),
            _pattern(rf"{_START}{_LEAD}{_CHOOSE[kind]}\s*+:?\s*+{noun}{label}{end}"),
            _pattern(rf"{_SO}{noun}{label}[ \t]*+[.!]?\s*+\Z"),
        ],
        comparisons=[_pattern(each) for each in _compare(noun, label, other, end, is_pair=is_pair)]
        if kind == "letters"
        else [],
    )


def _compare(noun: str, label: str, other: str, end: str, *, is_pair: bool) -> list[str]:
    """Return the patterns of comparisons; only of a pair the better one is the best."""
    subject = rf"{_START}{_LEAD}{noun}{label}(?:'s\s++(?:{_NOUNS}))?+"
    is_best = rf"{subject}\s++(?:(?:is|was)\s++{_VERY}(?:{_BEST}){_TAIL}|wins){end}"
    if not is_pair:
        return [is_best]
    than = rf"(?:\s++than\s++{noun}{other})?"
    return [
        rf"{subject}\s++(?:(?:is|was)\s++{_VERY}(?:{_BETTER}){_TAIL}|wins){than}{end}",
        rf"{subject}\s*+(?:{_BEATS})\s*+{noun}{other}{end}",
        rf"{_START}{_LEAD}{noun}{other}\s*+(?:{_LOSES})\s*+{noun}{label}{end}",
    ]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)
