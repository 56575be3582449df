"""Read which label a reply answers with, from the probabilities of its tokens or from its text.

A label is a digit, a letter, a word such as `yes`, or a sign such as `=`. `answers` finds it in the
text, and the token that stands there tells the probabilities. A token counts for the label that it
spells, in any case and with any blanks, quotes or brackets around it: `Yes`, ` yes` and `**YES` are
all `yes`.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import exp, log
from typing import Any
from unicodedata import normalize

from podium_service.prompts.labels.answers import find_label, mentions_label
from podium_service.prompts.reply import Reply, skip_thoughts
from podium_service.prompts.verdict import Fault

_MIN_LOGPROB = -700.0  # the exponential of anything much less is 0
_AROUND_LABELS = " \t\n\r\"'*_`()[]{}.,:;!#$"
_BLANKS = str.maketrans("\u0120\u2581\u010a", "  \n")  # as some vocabularies write them
# Labels that hold less of a first token than this were hardly considered.
_MIN_MASS = 0.1
# Rounding aside, the alternatives of one token cannot hold more than all of the probability.
_MAX_MASS = 1.1


def read_probabilities(reply: Reply, labels: Sequence[str]) -> list[float]:
    """Return the probability of each label: the endpoint's, else 1 for the label named.

    The endpoint's are those of the token that answers, scaled to sum to 1 over the labels. A reply
    that was cut off before it named any label is read at its first token, if that token's
    alternatives hold two labels or more, and these a tenth of the probability.

    Raises:
        Fault: If the reply names no label, or if it is not clear which.
    """
    token = _find_token(reply, labels)
    mass = _sum_by_label(token, labels) if token else {}
    if mass:
        total = sum(mass.values())
        return [mass.get(label, 0.0) / total for label in labels]
    text, place = reply.answer
    begin, end = skip_thoughts(text)
    named = find_label(text[begin:end], labels, place)
    return [float(label == named.label) for label in labels]


def label_logprobs(reply: Reply, labels: Sequence[str]) -> list[float] | None:
    """Return the log-probability of each label at the token that answers, as the endpoint gave it.

    The alternatives that stand for one label are summed. A label that is not among them gets the
    lowest log-probability listed, which is an upper bound of its own.

    Returns:
        One natural logarithm, 0 at most, for each label; None if no token answers, or if the
        endpoint gave only that token's own, which tells nothing about other labels. Then
        `read_probabilities` reads the text, or raises the fault.
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
    spelled = "".join(str(token.get("token", "")) for token in tokens).translate(_BLANKS)
    whole, place = reply.answer
    text = whole.translate(_BLANKS).strip()
    # The tokens may begin with thoughts that the text lacks, or spell some characters otherwise.
    offset = spelled.rfind(text) if text else 0
    begin, end = skip_thoughts(text)
    try:
        named = find_label(text[begin:end], labels, place)
    except Fault:
        if place != "alone" or offset < 0 or mentions_label(spelled, labels):
            return None
        first = _find_at(tokens, offset + begin)
        return first if first and _considers(first, labels) else None
    token = _find_at(tokens, offset + begin + named.start) if offset >= 0 else None
    return token if token and _as_label(token.get("token"), labels) == named.label else None


def _find_at(tokens: Sequence[dict[str, Any]], position: int) -> dict[str, Any] | None:
    """Return the token that holds the character at a position of the tokens' joint text."""
    ends = accumulate(len(str(token.get("token", ""))) for token in tokens)
    return next((each for each, end in zip(tokens, ends, strict=True) if end > position), None)


def _considers(token: dict[str, Any], labels: Sequence[str]) -> bool:
    """Return whether the labels hold enough of a token's alternatives to be read from them."""
    mass = _sum_by_label(token, labels)
    return len(mass) > 1 and sum(mass.values()) >= _MIN_MASS


def _sum_by_label(token: dict[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Sum the probabilities of a token's alternatives by the label that each stands for.

    Nothing is returned if the endpoint does not tell how likely the token's own label was, because
    the others alone would answer with another one.
    """
    mass: dict[str, float] = {}
    for text, logprob in _list_alternatives(token):
        label = _as_label(text, labels)
        if label:
            mass[label] = mass.get(label, 0.0) + exp(logprob)
    drawn = _as_label(token.get("token"), labels)
    return mass if drawn is None or drawn in mass else {}


def _list_alternatives(token: dict[str, Any]) -> list[tuple[str, float]]:
    """Return a token's alternatives, itself included, with their log-probabilities.

    There are none if they hold more than all of the probability: some servers fill in zeros, or
    give probabilities instead of their logarithms, which would answer with a tie.
    """
    listed = token.get("top_logprobs")
    tops = [top for top in listed if isinstance(top, dict)] if isinstance(listed, list) else []
    if token.get("token") not in [top.get("token") for top in tops]:
        tops.append(token)  # the token drawn need not be among the likeliest
    pairs = [(str(top.get("token")), top.get("logprob")) for top in tops]
    known = [
        (text, min(0.0, logprob))
        for text, logprob in pairs
        if isinstance(logprob, int | float) and logprob > _MIN_LOGPROB
    ]
    known = list(dict.fromkeys(known))  # the token drawn may be listed twice
    return known if sum(exp(logprob) for _, logprob in known) <= _MAX_MASS else []


def _as_label(text: Any, labels: Sequence[str]) -> str | None:
    """Return the label that a token spells, without the marks around it."""
    plain = normalize("NFKC", str(text))  # full-width letters are the same letters
    bare = plain.translate(_BLANKS).strip(_AROUND_LABELS).casefold()
    return next((label for label in labels if label.casefold() == bare), None)
