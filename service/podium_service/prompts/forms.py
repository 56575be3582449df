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
from itertools import accumulate
from math import exp
from typing import Any

from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import DIGITS, TIE, Prompt, correction, verdict_schema
from podium_service.prompts.verdict import THINKING, Fault, Verdict, parse_verdict

TOP_LOGPROBS = 20
_WORD = re.compile("[A-Za-z0-9]")


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
    ties = sum(score == bad for score in scores) if bad > 0 else 0  # at 0 all may be as bad
    below = sum(score < bad for score in scores) + ties / 2
    if 3 * below > len(scores):
        raise CanaryMisplaced(f"the planted bad trajectory beats {below:g} of {len(scores)}")
    return replace(
        verdict,
        order=prompt.order,
        ids=prompt.ids,
        scores=scores,
        explanations=[
            words.replace(prompt.canary, "a planted bad one") for words in verdict.explanations[:-1]
        ],
    )


def read_choice(reply: Reply, prompt: Prompt) -> Verdict:
    """The probability that each of the two is better; a tie is half for each."""
    labels = [*prompt.ids, TIE]
    likely = _label_probabilities(reply, labels) or _named(reply, labels)
    wins = round(likely[0] + likely[2] / 2, 12)
    return Verdict(prompt.order, prompt.ids, [wins, round(1 - wins, 12)], ["", ""])


def read_rating(reply: Reply, prompt: Prompt) -> Verdict:
    """The expected digit, from 0 to 1."""
    likely = _label_probabilities(reply, [*DIGITS]) or _named(reply, [*DIGITS])
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

    A reply that names none is read at its first token if that considered at least two. None where
    the endpoint gave no probabilities, or no such token.
    """
    tokens = [token for token in reply.logprobs or () if isinstance(token, dict)]
    said = "".join(str(token.get("token", "")) for token in tokens)
    begin = max(_after_thoughts(said), said.rfind(reply.text) if reply.text else 0)
    answer = _answer(said, begin, labels, cut_off=reply.finish_reason == "length")
    ends = accumulate(len(str(token.get("token", ""))) for token in tokens)
    at = answer.start() if answer else begin
    token = next((each for each, end in zip(tokens, ends, strict=True) if end > at), {})
    mass = _by_label(token, labels)
    if len(mass) < (1 if answer else 2):
        return None
    total = sum(mass.values())
    return [mass.get(label, 0.0) / total for label in labels]


def _by_label(token: dict[str, Any], labels: Sequence[str]) -> dict[str, float]:
    """Probability mass by label at one place; tokens that differ in blanks or case are added."""
    listed = token.get("top_logprobs")
    tops = [top for top in listed if isinstance(top, dict)] if isinstance(listed, list) else []
    if token.get("token") not in [top.get("token") for top in tops]:
        tops.append(token)  # drawn, though it is not among the likeliest
    mass: dict[str, float] = {}
    for top in tops:
        label, logprob = _label(top.get("token"), labels), top.get("logprob")
        if label and isinstance(logprob, int | float) and logprob > -700:
            mass[label] = mass.get(label, 0.0) + exp(min(0.0, logprob))
    drawn = _label(token.get("token"), labels)
    return mass or ({drawn: 1.0} if drawn else {})


def _label(text: Any, labels: Sequence[str]) -> str | None:
    """The label that a token is, blanks (also as vocabularies write them) and quotes aside."""
    bare = str(text).strip(" \t\n\r\u0120\u2581\"'*()[].:").upper()
    return bare if bare in labels else None


def _named(reply: Reply, labels: Sequence[str]) -> list[float]:
    """All for the label that a reply names.

    Raises:
        Fault: If it names none.
    """
    said = reply.text
    begin = _after_thoughts(said)
    answer = _answer(said, begin, labels, cut_off=reply.finish_reason == "length")
    if answer is None:
        some = said[begin:].strip()
        raise Fault(f"it names none of {', '.join(labels)}" if some else "it is empty")
    return [float(label == answer[0]) for label in labels]


def _answer(said: str, begin: int, labels: Sequence[str], *, cut_off: bool) -> re.Match[str] | None:
    """The label that a reply starts with, else the one that stands alone and last; not the 9 of
    "7/9". In a reply that was cut off the last one may be a mere thought."""
    either = "|".join(map(re.escape, labels))
    alone = rf"(?<![A-Za-z0-9/])(?<!\d\.)(?<!out of )(?:{either})(?![A-Za-z0-9]|\.\d)"
    found = list(re.compile(alone).finditer(said, begin))
    if found and not _WORD.search(said, begin, found[0].start()):
        return found[0]
    return found[-1] if found and not cut_off else None


def _after_thoughts(said: str) -> int:
    thoughts = THINKING.match(said)
    return thoughts.end() if thoughts else 0
