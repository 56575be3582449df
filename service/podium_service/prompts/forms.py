"""Read a judge's reply as a verdict, whatever the form of the question.

    scores   several trajectories at once, a score for each; JSON
    choice   two trajectories, the letter of the better one
    rating   one trajectory, a digit

Choices and ratings are read from the probabilities of the judge's tokens where the endpoint gives
them, because these tell more than the token: a judge that always names the first of two still
names it with less confidence when the second is better.

To add a form:

1. Write its prompt in `templates`.
2. Write a function that reads a reply, here.
3. Enter it in `FORMS`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp
from typing import Any

from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import DIGITS, TIE, Prompt
from podium_service.prompts.verdict import THINKING, Fault, Verdict, parse_verdict

TOP_LOGPROBS = 20
# An endpoint with guided decoding enforces it. Even if a model spends a token on each character, a
# reply fits the 160 tokens that `FORMS` allows for each trajectory.
_EXPLANATION_CHARS = 120
_MIN_LOGPROB = -700  # the exponential of anything much less is 0
_WORD = re.compile("[A-Za-z0-9]")


class CanaryMisplaced(Exception):
    """A verdict is void: it does not place the planted bad trajectory in its last third."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of question.

    Attributes:
        read: returns the verdict in a reply to a prompt; raises Fault or CanaryMisplaced.
        answer: the words for a reply without a fault, with places for the ids shown: `{ids}` for
            all of them, `{0}` and so on for one.
        tokens: the most tokens of a reply, for each trajectory shown.
        schema: returns the JSON schema of a reply, given the ids; None where replies are labels,
            of which the probabilities are asked for.
    """

    read: Callable[[Reply, Prompt], Verdict]
    answer: str
    tokens: int
    schema: Callable[[Sequence[str]], dict[str, Any]] | None = None

    def correction(self, fault: str, ids: Sequence[str]) -> str:
        """Return the message that asks the judge to correct a reply with a fault."""
        answer = self.answer.format(*ids, ids=", ".join(ids))
        return f"That reply cannot be used: {fault}. Answer again with {answer}"


def _read_scores(reply: Reply, prompt: Prompt) -> Verdict:
    """Parse strict JSON with a score for each id; check the canary and leave it out."""
    verdict = parse_verdict(reply.text, prompt.shown_ids, prompt.order)
    if prompt.canary is None:
        return verdict
    *scores, bad = verdict.scores
    # A tie with the canary at 0 counts for nothing, because all may be as bad as it is.
    ties = sum(score == bad for score in scores) if bad > 0 else 0
    below = sum(score < bad for score in scores) + ties / 2
    if 3 * below > len(scores):
        raise CanaryMisplaced(f"the planted bad trajectory beats {below:g} of {len(scores)}")
    texts = verdict.explanations[:-1]
    explanations = [text.replace(prompt.canary, "a planted bad one") for text in texts]
    return Verdict(prompt.order, prompt.ids, scores, explanations)


def _read_choice(reply: Reply, prompt: Prompt) -> Verdict:
    """Read the probability that each of two is better; a tie counts half for each."""
    probabilities = _read_probabilities(reply, [*prompt.ids, TIE])
    wins = round(probabilities[0] + probabilities[2] / 2, 12)
    return Verdict(prompt.order, prompt.ids, [wins, round(1 - wins, 12)], ["", ""])


def _read_rating(reply: Reply, prompt: Prompt) -> Verdict:
    """Read the expected digit, scaled to [0, 1]."""
    probabilities = _read_probabilities(reply, [*DIGITS])
    rating = sum(digit * probability for digit, probability in enumerate(probabilities))
    return Verdict(prompt.order, prompt.ids, [round(min(1.0, rating / 9), 12)], [""])


def _scores_schema(ids: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of a reply with a score for exactly these ids, in this order."""
    entry = {
        "type": "object",
        "properties": {
            "explanation": {"type": "string", "maxLength": _EXPLANATION_CHARS},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["explanation", "score"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": dict.fromkeys(ids, entry),
        "required": list(ids),
        "additionalProperties": False,
    }


FORMS = {
    "scores": Form(
        _read_scores,
        "one JSON object and nothing else, its keys exactly these ids, each once: {ids}; each "
        'value {{"explanation": "<one sentence>", "score": <number from 0 to 1>}}.',
        tokens=160,
        schema=_scores_schema,
    ),
    "choice": Form(
        _read_choice,
        f"one letter and nothing else: {{0}} or {{1}}, or {TIE} if they are equally good.",
        tokens=8,
    ),
    "rating": Form(
        _read_rating, "one digit and nothing else, from 0 (worst) to 9 (best).", tokens=8
    ),
}


def _read_probabilities(reply: Reply, labels: Sequence[str]) -> list[float]:
    """Return the probability of each label: the endpoint's, else 1 for the label named.

    Raises:
        Fault: If the reply names none.
    """
    probabilities = _label_probabilities(reply, labels)
    if probabilities:
        return probabilities
    begin = _skip_thoughts(reply.text)
    answer = _find_answer(reply, reply.text, begin, labels)
    if answer is None:
        is_empty = not reply.text[begin:].strip()
        raise Fault("it is empty" if is_empty else f"it names none of {', '.join(labels)}")
    return [float(label == answer[0]) for label in labels]


def _label_probabilities(reply: Reply, labels: Sequence[str]) -> list[float] | None:
    """Return the probabilities of the labels at the token that answers, scaled to sum to 1.

    A reply that names no label is read at its first token, if at least two labels are among that
    token's alternatives.

    Returns:
        One probability for each label; None if the endpoint gave no probabilities or no token can
        be read.
    """
    tokens = [token for token in reply.logprobs or () if isinstance(token, dict)]
    text = "".join(str(token.get("token", "")) for token in tokens)
    begin = max(_skip_thoughts(text), text.rfind(reply.text) if reply.text else 0)
    answer = _find_answer(reply, text, begin, labels)
    ends = accumulate(len(str(token.get("token", ""))) for token in tokens)
    position = answer.start() if answer else begin
    token = next((each for each, end in zip(tokens, ends, strict=True) if end > position), {})
    mass = _sum_by_label(token, labels)
    if len(mass) < (1 if answer else 2):
        return None
    total = sum(mass.values())
    return [mass.get(label, 0.0) / total for label in labels]


def _sum_by_label(token: dict[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Sum the probabilities of a token's alternatives by the label that each stands for."""
    listed = token.get("top_logprobs")
    tops = [top for top in listed if isinstance(top, dict)] if isinstance(listed, list) else []
    if token.get("token") not in [top.get("token") for top in tops]:
        tops.append(token)  # the token drawn need not be among the likeliest
    mass: dict[str, float] = {}
    for top in tops:
        label, logprob = _as_label(top.get("token"), labels), top.get("logprob")
        if label and isinstance(logprob, int | float) and logprob > _MIN_LOGPROB:
            mass[label] = mass.get(label, 0.0) + exp(min(0.0, logprob))
    drawn = _as_label(token.get("token"), labels)
    return mass or ({drawn: 1.0} if drawn else {})


def _as_label(text: Any, labels: Sequence[str]) -> str | None:
    """Return the label that a token stands for, without blanks (as in vocabularies) and quotes."""
    bare = str(text).strip(" \t\n\r\u0120\u2581\"'*()[].:").upper()
    return bare if bare in labels else None


def _find_answer(
    reply: Reply, text: str, begin: int, labels: Sequence[str]
) -> re.Match[str] | None:
    """Find the label that a reply's text starts with, else the last one that stands alone.

    The 9 of "7/9" does not stand alone. The last label of a reply that was cut off does not count,
    because it may be a mere thought.
    """
    any_label = "|".join(map(re.escape, labels))
    alone = rf"(?<![A-Za-z0-9/])(?<!\d\.)(?<!out of )(?:{any_label})(?![A-Za-z0-9]|\.\d)"
    matches = list(re.compile(alone).finditer(text, begin))
    if matches and not _WORD.search(text, begin, matches[0].start()):
        return matches[0]
    return matches[-1] if matches and reply.finish_reason != "length" else None


def _skip_thoughts(text: str) -> int:
    """Return where the thinking blocks at the start of a reply end."""
    thoughts = THINKING.match(text)
    return thoughts.end() if thoughts else 0
