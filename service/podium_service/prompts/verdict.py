"""A judge's reply -> one finite score per id shown, or the fault that makes it unusable."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Blocks that begin before any JSON does: an explanation may speak of <think>.
THINKING = re.compile(
    r"\A(?:[^{]*?<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z))+", re.DOTALL | re.IGNORECASE
)
_MAX_STARTS = 256
_ID_LIKE = re.compile(r"\w{1,8}")
MAX_EXPLANATION_CHARS = 2000


class Fault(ValueError):
    """Why a reply is not a verdict, in words that the judge can act on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One parsed reply, by slot.

    Attributes:
        order: the index of the body shown in each slot.
        ids: the id it was shown under.
        scores: its score, in [0, 1].
        explanations: the judge's words about it.
    """

    order: list[int]
    ids: list[str]
    scores: list[float]
    explanations: list[str]

    def by_body(self) -> list[float]:
        """The scores, by index of the body instead of by slot."""
        scores = [0.0] * len(self.order)
        for index, score in zip(self.order, self.scores, strict=True):
            scores[index] = score
        return scores


def parse_verdict(reply: str, ids: Sequence[str], order: Sequence[int]) -> Verdict:
    """Read the verdict over `ids`, which show the bodies `order`, out of a reply.

    Thinking blocks, code fences and prose around the JSON object are skipped. Everything else is
    strict: every id exactly once, no other key, each score a JSON number in [0, 1].

    Raises:
        Fault: If the reply is not such an object; the message names what is wrong.
    """
    pairs = _find_object(THINKING.sub("", reply), ids)
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key not in ids:
            named = repr(key) if _ID_LIKE.fullmatch(key) else "a key"  # may be a trajectory's words
            raise Fault(f"{named} is not one of the ids shown")
        if key in seen:
            raise Fault(f"{key} stands twice")
        seen[key] = value
    missing = [shown_id for shown_id in ids if shown_id not in seen]
    if missing:
        raise Fault(f"{', '.join(missing)} missing")
    entries = [_entry(shown_id, seen[shown_id]) for shown_id in ids]
    scores, explanations = zip(*entries, strict=True)
    return Verdict(list(order), list(ids), list(scores), list(explanations))


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with repeated keys kept."""


# Not strict: guided decoding lets raw tabs and other control characters into strings.
_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False)


def _find_object(text: str, ids: Sequence[str]) -> _Pairs:
    """The last outermost JSON object that names an id; else the last one at all."""
    found: _Pairs | None = None
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
            if names_an_id or found is None or not any(key in ids for key, _ in found):
                found = value
        start = text.find("{", end)
    if found is None:
        raise Fault("there is no JSON object in it" if text.strip() else "it is empty")
    return found


def _entry(shown_id: str, value: Any) -> tuple[float, str]:
    pairs = value if isinstance(value, _Pairs) else _Pairs()
    scores = [each for key, each in pairs if key == "score"]
    if not scores:
        raise Fault(f'{shown_id} has no "score"')
    if len(scores) > 1:
        raise Fault(f"{shown_id} has two scores")
    score = scores[0]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise Fault(f"the score of {shown_id} is {_short(score)}, not a number")
    if not (0 <= score <= 1) or math.isnan(score):
        raise Fault(f"the score of {shown_id} is {_short(score)}, outside 0 to 1")
    explanation = dict(pairs).get("explanation", "")
    text = explanation if isinstance(explanation, str) else ""
    whole = text.encode(errors="replace").decode()  # an escape may stand for half a character
    return float(score), whole[:MAX_EXPLANATION_CHARS]


def _short(value: Any) -> str:
    if isinstance(value, list):  # perhaps too deep for `repr`
        return "an object" if isinstance(value, _Pairs) else "a list"
    return repr(value)[:40]
