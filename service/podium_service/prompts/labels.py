"""Read which label a reply answers with, from the probabilities of its tokens or from its text.

A label is a digit, a letter, a word such as `yes`, or a sign such as `=`. A token counts for the
label that it spells, in any case and with any blanks, quotes or brackets around it: `Yes`, ` yes`
and `**YES` are all `yes`. In text, a label of one letter must have the case of the label.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from typing import Any

from podium_service.prompts.reply import Reply
from podium_service.prompts.verdict import THINKING, Fault

_MIN_LOGPROB = -700.0  # the exponential of anything much less is 0
_WORD = re.compile("[A-Za-z0-9]")


def read_probabilities(reply: Reply, labels: Sequence[str]) -> list[float]:
    """Return the probability of each label: the endpoint's, else 1 for the label named.

    The endpoint's are those of the token that answers, scaled to sum to 1 over the labels. A reply
    that names no label is read at its first token, if two labels or more are among that token's
    alternatives.

    Raises:
        Fault: If the reply names no label.
    """
    token = _find_token(reply, labels)
    mass = _sum_by_label(token, labels) if token else {}
    if mass:
        total = sum(mass.values())
        return [mass.get(label, 0.0) / total for label in labels]
    begin = _skip_thoughts(reply.text)
    answer = _find_answer(reply, reply.text, begin, labels)
    if answer is None:
        is_empty = not reply.text[begin:].strip()
        raise Fault("it is empty" if is_empty else f"it names none of {', '.join(labels)}")
    named = _as_label(answer[0], labels)
    return [float(label == named) for label in labels]


def label_logprobs(reply: Reply, labels: Sequence[str]) -> list[float] | None:
    """Return the log-probability of each label at the token that answers, as the endpoint gave it.

    The alternatives that stand for one label are summed. A label that is not among them gets the
    lowest log-probability listed, which is an upper bound of its own.

    Returns:
        One natural logarithm, 0 at most, for each label; None if the endpoint gave none for a token
        that answers, or only that token's own, which tells nothing about other labels.
    """
    token = _find_token(reply, labels)
    alternatives = _list_alternatives(token) if token else []
    mass = _sum_by_label(token, labels) if token else {}
    if not mass or len(alternatives) < 2:
        return None
    lowest = min(logprob for _, logprob in alternatives)
    return [min(0.0, log(mass[label])) if label in mass else lowest for label in labels]


def _find_token(reply: Reply, labels: Sequence[str]) -> dict[str, Any] | None:
    """Return the token of a reply that answers, or None if there are no tokens or none answers."""
    tokens = [token for token in reply.logprobs or () if isinstance(token, dict)]
    text = "".join(str(token.get("token", "")) for token in tokens)
    begin = max(_skip_thoughts(text), text.rfind(reply.text) if reply.text else 0)
    answer = _find_answer(reply, text, begin, labels)
    ends = accumulate(len(str(token.get("token", ""))) for token in tokens)
    position = answer.start() if answer else begin
    token = next((each for each, end in zip(tokens, ends, strict=True) if end > position), None)
    if token is None or len(_sum_by_label(token, labels)) < (1 if answer else 2):
        return None
    return token


def _sum_by_label(token: dict[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Sum the probabilities of a token's alternatives by the label that each stands for."""
    mass: dict[str, float] = {}
    for text, logprob in _list_alternatives(token):
        label = _as_label(text, labels)
        if label:
            mass[label] = mass.get(label, 0.0) + exp(logprob)
    drawn = _as_label(token.get("token"), labels)
    return mass or ({drawn: 1.0} if drawn else {})


def _list_alternatives(token: dict[str, Any]) -> list[tuple[str, float]]:
    """Return a token's alternatives, itself included, with their log-probabilities."""
    listed = token.get("top_logprobs")
    tops = [top for top in listed if isinstance(top, dict)] if isinstance(listed, list) else []
    if token.get("token") not in [top.get("token") for top in tops]:
        tops.append(token)  # the token drawn need not be among the likeliest
    pairs = [(str(top.get("token")), top.get("logprob")) for top in tops]
    return [
        (text, min(0.0, logprob))
        for text, logprob in pairs
        if isinstance(logprob, int | float) and logprob > _MIN_LOGPROB
    ]


def _as_label(text: Any, labels: Sequence[str]) -> str | None:
    """Return the label that a token stands for, without blanks (as in vocabularies) and quotes."""
    bare = str(text).strip(" \t\n\r\u0120\u2581\"'*()[].:").casefold()
    return next((label for label in labels if label.casefold() == bare), None)


def _find_answer(
    reply: Reply, text: str, begin: int, labels: Sequence[str]
) -> re.Match[str] | None:
    """Find the label that a reply's text starts with, else the last one that stands alone.

    The 9 of "7/9" does not stand alone. The last label of a reply that was cut off does not count,
    because it may be a mere thought.
    """
    any_label = "|".join(_spell(label) for label in labels)
    alone = rf"(?<![A-Za-z0-9/])(?<!\d\.)(?<!out of )(?:{any_label})(?![A-Za-z0-9]|\.\d)"
    matches = list(re.compile(alone).finditer(text, begin))
    if matches and not _WORD.search(text, begin, matches[0].start()):
        return matches[0]
    return matches[-1] if matches and reply.finish_reason != "length" else None


def _spell(label: str) -> str:
    """Return a pattern of a label; a word may have any case."""
    return f"(?i:{re.escape(label)})" if len(label) > 1 else re.escape(label)


def _skip_thoughts(text: str) -> int:
    """Return where the thinking blocks at the start of a reply end."""
    thoughts = THINKING.match(text)
    return thoughts.end() if thoughts else 0
