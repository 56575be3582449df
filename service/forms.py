"""The forms of question a judge can be asked, and how each one's reply becomes a verdict.

    scores   several trajectories at once, a score for each; JSON
    choice   two trajectories, the better one's letter
    rating   one trajectory, a digit

Choices and ratings are read from the probabilities of the judge's tokens where the endpoint gives
them: a judge that always names slot 1 still names it less surely when the better one stands in
slot 2. To add a form: write its prompt in `prompts`, a `read` and a `correction` here, and enter it
in `FORMS`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any

from service.endpoint import Reply
from service.prompts import DIGITS, TIE, Prompt, correction, verdict_schema
from service.verdict import THINKING, Fault, Verdict, parse_verdict

TOP_LOGPROBS = 20


class CanaryMisplaced(Exception):
    """A verdict that does not place the planted known-bad trajectory in its last third is void."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of question.

    Attributes:
        read: a reply to a prompt -> the verdict; raises Fault, CanaryMisplaced.
        correction: what a judge is told when its reply is no verdict.
        schema: the JSON schema of a reply over these ids; None where the reply is no JSON.
        tokens: of a reply, per trajectory shown, at most.
        logprobs: whether the probabilities of tokens are asked for.
    """

    read: Callable[[Reply, Prompt], Verdict]
    correction: Callable[[str, Sequence[str]], str]
    schema: Callable[[Sequence[str]], dict[str, Any]] | None
    tokens: int
    logprobs: bool


def read_scores(reply: Reply, prompt: Prompt) -> Verdict:
    """Strict JSON, every id once; the canary is checked and left out."""
    if prompt.canary is None:
        return parse_verdict(reply.text, prompt.ids, prompt.order)
    canary = len(prompt.order)
    verdict = parse_verdict(
        reply.text, [*prompt.ids, prompt.canary], [*range(len(prompt.order)), canary]
    )
    *scores, bad = verdict.scores
    below = sum(score < bad for score in scores)
    if 3 * below > len(scores):
        raise CanaryMisplaced(f"the planted bad trajectory beats {below} of {len(scores)}")
    return replace(
        verdict,
        order=prompt.order,
        ids=prompt.ids,
        scores=scores,
        explanations=verdict.explanations[:-1],
    )


def read_choice(reply: Reply, prompt: Prompt) -> Verdict:
    """The probability that each of the two is better; a tie is half for each."""
    first, second = prompt.ids
    labels = [first, second, TIE]
    likely = _label_probabilities(reply, labels)
    if likely is None:
        named = _last_label(reply.text, labels)
        likely = [float(label == named) for label in labels]
    wins = round(likely[0] + likely[2] / 2, 12)
    return Verdict(prompt.order, prompt.ids, [wins, round(1 - wins, 12)], ["", ""])


def read_rating(reply: Reply, prompt: Prompt) -> Verdict:
    """The expected digit, from 0 to 1."""
    likely = _label_probabilities(reply, DIGITS)
    if likely is None:
        rating = float(_last_label(reply.text, DIGITS))
    else:
        rating = sum(digit * probability for digit, probability in enumerate(likely))
    return Verdict(prompt.order, prompt.ids, [round(min(1.0, rating / 9), 12)], [""])


def choice_correction(fault: str, ids: Sequence[str]) -> str:
    first, second = ids
    return (
        f"That reply cannot be used: {fault}. Answer again with one letter and nothing else: "
        f"{first} or {second}, or {TIE} if they are equally good."
    )


def rating_correction(fault: str, _ids: Sequence[str]) -> str:
    return (
        f"That reply cannot be used: {fault}. Answer again with one digit and nothing else, "
        "from 0 (worst) to 9 (best)."
    )


FORMS = {
    "scores": Form(read_scores, correction, verdict_schema, tokens=160, logprobs=False),
    "choice": Form(read_choice, choice_correction, None, tokens=8, logprobs=True),
    "rating": Form(read_rating, rating_correction, None, tokens=8, logprobs=True),
}


def _label_probabilities(reply: Reply, labels: Sequence[str]) -> list[float] | None:
    """Probabilities of the labels at the token that answers, made to sum to 1.

    That is the last token that is a label. A reply that names none is read at its first token if
    that considered at least two. None where the endpoint gave no probabilities, or no such token.
    """
    tokens = [token for token in reply.logprobs or () if isinstance(token, dict)]
    answers = [token for token in tokens if _label(token.get("token"), labels)]
    if answers:
        return _shares(answers[-1], labels)
    if not tokens:
        return None
    considered = _by_label(tokens[0], labels)
    return _shares(tokens[0], labels) if len(considered) > 1 else None


def _shares(token: dict[str, Any], labels: Sequence[str]) -> list[float]:
    mass = _by_label(token, labels)
    total = sum(mass.values())
    return [mass.get(label, 0.0) / total for label in labels]


def _by_label(token: dict[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Probability mass by label at one place; tokens that differ in blanks or case are added."""
    tops = token.get("top_logprobs") or [token]
    mass: dict[str, float] = {}
    for top in tops:
        label, logprob = _label(top.get("token"), labels), top.get("logprob")
        if label and isinstance(logprob, int | float) and logprob > -700:
            mass[label] = mass.get(label, 0.0) + exp(min(0.0, logprob))
    return mass or {str(_label(token.get("token"), labels)): 1.0}


def _label(text: Any, labels: Sequence[str]) -> str | None:
    """The label that a token is, blanks (also as vocabularies write them) and quotes aside."""
    bare = str(text).strip(" \t\n\r\u0120\u2581\"'*()[].:")
    return bare.upper() if bare and bare.upper() in labels else None


def _last_label(text: str, labels: Sequence[str]) -> str:
    """The label that stands alone and last in a reply.

    Raises:
        Fault: If none does.
    """
    said = THINKING.sub("", text)
    either = "|".join(map(re.escape, labels))
    found = re.findall(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])", said)
    if not found:
        raise Fault(f"it names none of {', '.join(labels)}" if said.strip() else "it is empty")
    return str(found[-1])
