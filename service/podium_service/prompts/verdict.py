"""Parse a judge's JSON reply: one finite score for each id shown, or a `Fault`."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Only blocks that begin before any JSON are thoughts, because an explanation may contain <think>.
THINKING = re.compile(
    r"\A(?:[^{]*?<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z))+", re.DOTALL | re.IGNORECASE
)
_MAX_STARTS = 256  # braces of a reply at which an object is looked for
_ID_LIKE = re.compile(r"\w{1,8}")
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

    def by_body(self) -> list[float]:
        """Return the scores in the order of the bodies instead."""
        scores = [0.0] * len(self.order)
        for index, score in zip(self.order, self.scores, strict=True):
            scores[index] = score
        return scores


def parse_verdict(reply: str, ids: Sequence[str], order: Sequence[int]) -> Verdict:
    """Parse a reply.

    Thinking blocks, code fences and prose around the JSON object are skipped. Everything else is
    strict: every id exactly once, no other key, each score a JSON number in [0, 1].

    Args:
        reply: the judge's text.
        ids: the ids that it must score, in the order shown.
        order: indices of the bodies shown, for the verdict.

    Raises:
        Fault: If the reply holds no such object; the message names what is wrong.
    """
    values: dict[str, Any] = {}
    for key, value in _find_object(THINKING.sub("", reply), ids):
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


# Not strict, because guided decoding lets raw tabs and other control characters into strings.
_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False)


def _find_object(text: str, ids: Sequence[str]) -> _Pairs:
    """Return the last outermost JSON object that names an id, else the last one of all."""
    best: _Pairs | None = None
    start = text.find("{")
    for _ in range(_MAX_STARTS):
        if start < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            names_an_id = any(key in ids for key, _ in value)
            if names_an_id or best is None or not any(key in ids for key, _ in best):
                best = value
        start = text.find("{", end)
    if best is None:
        raise Fault("there is no JSON object in it" if text.strip() else "it is empty")
    return best


def _parse_entry(shown_id: str, value: Any) -> tuple[float, str]:
    """Return the score and the explanation in one member of a verdict."""
    if isinstance(value, int | float):  # a bare score, as is asked for without explanations
        value = _Pairs([("score", value)])
    pairs = value if isinstance(value, _Pairs) else _Pairs()
    scores = [each for key, each in pairs if key == "score"]
    if len(scores) != 1:
        raise Fault(f"{shown_id} has two scores" if scores else f'{shown_id} has no "score"')
    score = scores[0]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise Fault(f"the score of {shown_id} is {_describe(score)}, not a number")
    if not 0 <= score <= 1:  # NaN fails this comparison, too
        raise Fault(f"the score of {shown_id} is {_describe(score)}, outside 0 to 1")
    explanation = dict(pairs).get("explanation", "")
    text = explanation if isinstance(explanation, str) else ""
    # An escape in JSON may stand for half a character, which cannot be stored.
    storable = text.encode(errors="replace").decode()
    return float(score), storable[:MAX_EXPLANATION_CHARS]


def _describe(value: Any) -> str:
    if isinstance(value, list):  # `repr` would fail on one that is nested very deep
        return "an object" if isinstance(value, _Pairs) else "a list"
    return repr(value)[:40]
