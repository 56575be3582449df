"""Parse a judge's JSON reply: one finite score for each id shown, or a `Fault`.

Judges write the same verdict in several ways, and each of these has one reading only:

    {"K7X": {"explanation": "...", "score": 0.8}, ...}    as asked for; also "Score" and "0.8"
    {"K7X": 0.8, ...}                                     scores without words
    [{"id": "K7X", "score": 0.8}, ...]                    a list
    {"scores": <one of these>, "notes": "..."}            one of these inside an object

All else is a fault: a percentage, a fraction, a score off the scale, an id more or less. Of two
verdicts the last one counts if it contradicts nothing, or if the words before it say so.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from podium_service.prompts.reply import THOUGHT_TAG, Place, closes_thoughts

# Brackets at which JSON is looked for: in the whole reply, and in what follows each closing tag.
_MAX_STARTS, _MIN_STARTS = 256, 64
_START = re.compile(rf"(?:{THOUGHT_TAG.pattern})|(?P<bracket>[{{\[])", re.IGNORECASE)
_WORD = re.compile(r"\w")
_LAST_COMMA = re.compile(r",(?=\s*[}\]])")  # of an object or a list, where JSON has none
_FENCE = re.compile(r"```\w*")
_ID_LIKE = re.compile(r"\w{1,8}")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*")
_OTHER_SCALE = re.compile(r"[0-9]\s*(?:%|/|,[0-9]|out of)")
# Words before or after JSON that make it no verdict.
_EXAMPLE = re.compile(
    r"\b(?:for example|for instance|e\.g\.|example|such as|like|schema|template|placeholder)"
    r"[\s:,*`]*(?:json)?\s*\Z",
    re.I,
)
_SECOND_THOUGHT = re.compile(
    r"\b(?:wait|hmm+|on second thoughts?|scratch that|correction|reconsider\w*|swapped|mixed up"
    r"|i(?: have|'ve)? made an? (?:mistake|error)|(?:only|just|merely) an? (?:example|sample)"
    r"|let me (?:re-?\w+|double|check|correct)|i (?:cannot|can't|am unable to) (?:score|judge|rate)"
    r"|das stimmt nicht|je me suis tromp\w+|me equivoqu\w+)\b"
    r"|(?:\A|[.!?\n])[\s*_]{0,9}(?:actually|sorry|oops|edit|no)\b(?=[,:.!])|搞错|我错了|等等",
    re.I,
)
_FINAL = re.compile(
    r"\b(?:final\w*|correct\w*|revis\w*|updat\w*|adjust\w*|then|so|therefore|thus|hence|now|instead"
    r"|verdict|answer|result|better|improved)\b",
    re.I,
)
# Words around JSON that give its numbers another meaning: 0 is the best one, or 10.
_OTHER_MEANING = re.compile(
    r"\b(?:lower|smaller|lowest)(?: scores?| numbers?| values?)?(?: is| are|:| =) (?:better|best)\b"
    r"|(?<![\d.])0(?:\.0)? ?(?:=|:|is|means)(?: the)? best\b"
    r"|(?<![\d.])1(?:\.0)? ?(?:=|:|is|means)(?: the)? worst\b"
    r"|\bscale\b[^.!?\n]{0,20}?(?<![\d.])(?:[2-9]|\d\d)",
    re.I,
)
# Members that hold no verdict although they name ids, and those that hold none in bare numbers.
_NO_VERDICT = re.compile(r"draft|initial|first|example|format|schema|template", re.I)
_NO_SCORES = re.compile(
    r"rank|order|place|position|penal|error|mistake|loss|cost|weight|conf", re.I
)
MAX_EXPLANATION_CHARS = 2000


class Fault(ValueError):
    """A reply is no verdict; the message tells the judge what to correct."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The scores of one reply, in the order in which its N trajectories were shown.

    Attributes:
        order: N indices of the bodies shown.
        ids: N ids under which they were shown.
        scores: N scores in [0, 1].
        explanations: N texts by the judge; empty where it gave none.
    """

    order: list[int]
    ids: list[str]
    scores: list[float]
    explanations: list[str]

    def shortened(self, max_chars: int) -> "Verdict":
        """Return the verdict with explanations of at most so many characters."""
        if all(len(text) <= max_chars for text in self.explanations):
            return self
        return replace(self, explanations=[text[:max_chars] for text in self.explanations])

    def by_body(self) -> list[float]:
        """Return the scores in the order of the bodies instead."""
        scores = [0.0] * len(self.order)
        for index, score in zip(self.order, self.scores, strict=True):
            scores[index] = score
        return scores


def parse_verdict(
    reply: str, ids: Sequence[str], order: Sequence[int], place: Place = "anywhere"
) -> Verdict:
    """Parse a reply.

    Thoughts, code fences and prose around the JSON are skipped. Everything else is strict: every id
    exactly once, no other key beside it, each score a number in [0, 1].

    Args:
        reply: the judge's text.
        ids: the ids that it must score, in the order shown.
        order: indices of the bodies shown, for the verdict.
        place: `alone` if no words may stand around the JSON, `end` if none may follow.

    Raises:
        Fault: If the reply holds no such JSON; the message names what is wrong.
    """
    values: dict[str, Any] = {}
    for key, value in _find_members(reply, ids, place):
        if key not in ids:
            # Other keys are not quoted, because they may be words of a trajectory.
            name = repr(key) if _ID_LIKE.fullmatch(key) else "a key"
            raise Fault(f"{name} is not one of the ids shown")
        if key in values:
            raise Fault(f"{key} stands twice")
        values[key] = value
    if missing := [shown_id for shown_id in ids if shown_id not in values]:
        raise Fault(f"{', '.join(missing)} missing")
    entries = [_parse_entry(shown_id, values[shown_id]) for shown_id in ids]
    scores, explanations = zip(*entries, strict=True)
    return Verdict(list(order), list(ids), list(scores), list(explanations))


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, repeated keys included."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The part of a text after its thoughts: where it is, and the JSON in it with its place."""

    begin: int
    end: int
    values: list[tuple[Any, int, int]]


# Not strict, because guided decoding lets raw tabs and other control characters into strings.
_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False)


def _find_members(text: str, ids: Sequence[str], place: Place) -> _Pairs:
    """Return the members of the last verdict in a text, else of the last object of all."""
    answer = _skip_thoughts(text)
    if not answer.values:
        is_prose = place != "end" and text[answer.begin : answer.end].strip()
        raise Fault("there is no JSON object in it" if is_prose else "it is empty")
    listed = [(_list_members(value, ids), start, end) for value, start, end in answer.values]
    naming = [each for each in listed if _names_any(each[0], ids)]
    members, start, end = (naming or listed)[-1]
    before, after = text[answer.begin : start], text[end : answer.end]
    if place == "end" and _has_words(after):
        raise Fault("it is empty")
    if place == "alone" and (_has_words(before) or _has_words(text[end:])):
        raise Fault("there are words around the JSON object")
    if _EXAMPLE.search(before) or _SECOND_THOUGHT.search(after):
        raise Fault("the JSON object is an example, or the words after it take it back")
    if _OTHER_MEANING.search(before) or _OTHER_MEANING.search(after):
        raise Fault("its scores are not from 0, the worst, to 1, the best")
    if place == "anywhere" and len(naming) > 1:
        _check_agreement(text, naming, ids)
    return members


def _check_agreement(
    text: str, verdicts: Sequence[tuple[_Pairs, int, int]], ids: Sequence[str]
) -> None:
    """Raise Fault if the last of two verdicts or more contradicts another and does not replace it.

    Args:
        text: the whole reply.
        verdicts: members, begin and end of each JSON object that names an id.
        ids: the ids shown.
    """
    *_, (previous, start, end), (last, last_start, _) = verdicts
    if _EXAMPLE.search(text, 0, start) or _FINAL.search(text, end, last_start):
        return
    scores = [_list_scores(members, ids) for members in (previous, last)]
    if None not in scores and scores[0] != scores[1]:
        raise Fault("it holds two JSON objects with different scores")


def _list_scores(members: _Pairs, ids: Sequence[str]) -> list[float] | None:
    """Return the score of each id; None if these members are no verdict."""
    values = dict(members)
    try:
        return [_parse_entry(shown_id, values.get(shown_id))[0] for shown_id in ids]
    except Fault:
        return None


def _skip_thoughts(text: str) -> _Answer:
    """Find the JSON after the thoughts; tags and brackets inside of JSON are parts of it."""
    answer = _Answer(0, len(text), [])
    position, starts_left = 0, _MAX_STARTS
    forgiving = _LAST_COMMA.sub(" ", text)
    while match := _START.search(text, position):
        position = match.end()
        if not match["bracket"]:
            if closes_thoughts(match):
                answer = _Answer(position, len(text), [])
                starts_left = max(starts_left, _MIN_STARTS)
            elif answer.end == len(text):
                answer = replace(answer, end=match.start())
        elif answer.end == len(text) and starts_left > 0:
            starts_left -= 1
            value, end = _decode(text, forgiving, match.start())
            if isinstance(value, _Pairs) or _list_entries(value):
                answer.values.append((value, match.start(), end))
                position = end
    return answer


def _decode(text: str, forgiving: str, start: int) -> tuple[Any, int]:
    """Return the JSON that begins there and its end; an empty list if there is none."""
    for source in dict.fromkeys((text, forgiving)):
        try:
            return _DECODER.raw_decode(source, start)
        except (ValueError, RecursionError):
            continue
    return [], start


def _list_members(value: Any, ids: Sequence[str]) -> _Pairs:
    """Return the ids in some JSON with their values, whichever way it is written."""
    entries = _list_entries(value)
    if entries or _names_any(value, ids):
        return entries or value
    inner = [(key, _list_entries(each) or each) for key, each in value if isinstance(each, list)]
    named = [
        (key, each)
        for key, each in inner
        if isinstance(each, _Pairs) and _names_any(each, ids)
        if not _NO_SCORES.search(key) or all(isinstance(score, list) for _, score in each)
    ]
    return named[0][1] if len(named) == 1 and not _NO_VERDICT.search(named[0][0]) else value


def _list_entries(value: Any) -> _Pairs:
    """Return the entries of a list by their ids; none if it is no list of objects with ids."""
    if isinstance(value, _Pairs) or not all(isinstance(each, _Pairs) for each in value):
        return _Pairs()
    ids = [[each for key, each in entry if key.casefold() == "id"] for entry in value]
    if not all(len(each) == 1 and isinstance(each[0], str) for each in ids):
        return _Pairs()
    return _Pairs((each[0], entry) for each, entry in zip(ids, value, strict=True))


def _names_any(members: _Pairs, ids: Sequence[str]) -> bool:
    return any(key in ids for key, _ in members)


def _has_words(text: str) -> bool:
    return bool(_WORD.search(_FENCE.sub("", text)))


def _parse_entry(shown_id: str, value: Any) -> tuple[float, str]:
    """Return the score and the explanation in one member of a verdict."""
    is_bare = isinstance(value, int | float | str) and not isinstance(value, bool)
    pairs = value if isinstance(value, _Pairs) else [("score", value)] if is_bare else []
    named = [(key.strip().casefold(), each) for key, each in pairs]
    scores = [each for key, each in named if key == "score"]
    if len(scores) != 1:
        raise Fault(f"{shown_id} has two scores" if scores else f'{shown_id} has no "score"')
    explanation = dict(named).get("explanation", "")
    text = explanation if isinstance(explanation, str) else ""
    # An escape in JSON may stand for half a character, which cannot be stored.
    storable = text.encode(errors="replace").decode()
    return _parse_score(shown_id, scores[0]), storable[:MAX_EXPLANATION_CHARS]


def _parse_score(shown_id: str, score: Any) -> float:
    """Return a number from 0 to 1, which may stand in a string."""
    is_text = isinstance(score, str)
    number = float(score) if is_text and _NUMBER.fullmatch(score) else score
    if is_text and _OTHER_SCALE.search(score):
        raise Fault(f"the score of {shown_id} is {_describe(score)}, not a number such as 0.9")
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Fault(f"the score of {shown_id} is {_describe(score)}, not a number")
    if not 0 <= number <= 1:  # NaN fails this comparison, too
        raise Fault(f"the score of {shown_id} is {_describe(score)}, outside 0 to 1")
    return float(number)


def _describe(value: Any) -> str:
    if isinstance(value, list):  # `repr` would fail on one that is nested very deep
        return "an object" if isinstance(value, _Pairs) else "a list"
    return repr(value)[:40]
