"""Read a judge's reply as a verdict, whatever the form of the question.

    scores   several trajectories at once, a score for each; JSON
    choice   two trajectories, the letter of the better one
    best     several trajectories at once, the letter of the best one
    rating   one trajectory, a digit
    yes_no   one trajectory, yes or no

All but scores are read from the probabilities of the judge's tokens where the endpoint gives
them, because these tell more than the token: a judge that always names the first of two still
names it with less confidence when the second is better.

To add a form:

1. Write its words in `wording`, and its question in `templates`.
2. Write a function that reads a reply, here.
3. Enter it in `FORMS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Any

from podium_service.prompts.labels import label_logprobs, read_probabilities
from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Fault, Verdict, parse_verdict
from podium_service.prompts.wording import DIGITS, TIE, YES_NO, Explanations
from podium_service.scoring.estimate import NATS_PER_SCORE

TOP_LOGPROBS = 20
# An endpoint with guided decoding enforces it. Even if a model spends a token on each character, a
# reply fits the 160 tokens that `FORMS` allows for each trajectory.
_EXPLANATION_CHARS = 120


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
        schema: returns the JSON schema of a reply, given the ids and where explanations stand; None
            where replies are labels, of which the probabilities are asked for.
    """

    read: Callable[[Reply, Prompt], Verdict]
    answer: str
    tokens: int
    schema: Callable[[Sequence[str], Explanations], dict[str, Any]] | None = None

    def correction(self, fault: str, ids: Sequence[str]) -> str:
        """Return the message that asks the judge to correct a reply with a fault."""
        answer = self.answer.format(*ids, ids=", ".join(ids))
        return f"That reply cannot be used: {fault}. Answer again with {answer}"


def _read_scores(reply: Reply, prompt: Prompt) -> Verdict:
    """Parse strict JSON with a score for each id; check the canary and leave it out."""
    text, place = reply.answer
    verdict = parse_verdict(text, prompt.shown_ids, prompt.order, place)
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
    probabilities = _read_letters(reply, prompt, [*prompt.ids, TIE])
    wins = round(probabilities[0] + probabilities[2] / 2, 12)
    return Verdict(prompt.order, prompt.ids, [wins, round(1 - wins, 12)], ["", ""])


def _read_letters(reply: Reply, prompt: Prompt, labels: Sequence[str]) -> list[float]:
    """Return the probability of each letter; a reply that scores them all names the best.

    Some judges answer any question about several trajectories with a score for each.
    """
    try:
        return read_probabilities(reply, labels)
    except Fault:
        text, place = reply.answer
        try:
            scores = parse_verdict(text, prompt.ids, prompt.order, place).scores
        except Fault:
            scores = []
        best = [id_ for id_, score in zip(prompt.ids, scores, strict=False) if score == max(scores)]
        named = best[0] if len(best) == 1 else TIE
        if not scores or named not in labels:
            raise
        return [float(label == named) for label in labels]


def _read_rating(reply: Reply, prompt: Prompt) -> Verdict:
    """Read the expected digit, scaled to [0, 1]."""
    probabilities = read_probabilities(reply, [*DIGITS])
    rating = sum(digit * probability for digit, probability in enumerate(probabilities))
    return Verdict(prompt.order, prompt.ids, [round(min(1.0, rating / 9), 12)], [""])


def _read_best(reply: Reply, prompt: Prompt) -> Verdict:
    """Read the probability p of each letter to be named; its score is 1 + log(p) / NATS_PER_SCORE.

    Scores below 0 are 0. Where the endpoint gives no probabilities, the letter named is one draw
    from them: p is their mean given that draw, if beforehand all probabilities were equally likely.

    Source:
        Laplace's rule of succession: the posterior mean under a uniform Dirichlet prior.
    """
    ids = prompt.ids
    logprobs = label_logprobs(reply, ids)
    if logprobs is None:
        draws = _read_letters(reply, prompt, ids)
        logprobs = [log((1 + drawn) / (1 + len(ids))) for drawn in draws]
    total = log(fsum(map(exp, logprobs)))
    scores = [round(max(0.0, 1 + (each - total) / NATS_PER_SCORE), 12) for each in logprobs]
    return Verdict(prompt.order, ids, scores, [""] * len(ids))


def _read_yes_no(reply: Reply, prompt: Prompt) -> Verdict:
    """Read the probability of a yes."""
    yes, _ = read_probabilities(reply, YES_NO)
    return Verdict(prompt.order, prompt.ids, [round(yes, 12)], [""])


def _scores_schema(ids: Sequence[str], explanations: Explanations) -> dict[str, Any]:
    """Return the JSON schema of a reply with a score for exactly these ids, in this order."""
    score = {"type": "number", "minimum": 0, "maximum": 1}
    explanation = {"type": "string", "maxLength": _EXPLANATION_CHARS}
    members = {"score": score, "explanation": explanation}
    names = [*members] if explanations == "after" else [*members][::-1]
    entry = score if explanations == "none" else _object_schema({n: members[n] for n in names})
    return _object_schema(dict.fromkeys(ids, entry))


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with all of these members, in order, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


FORMS = {
    "scores": Form(
        _read_scores,
        "one JSON object and nothing else, its keys exactly these ids, each once: {ids}; each "
        "value a score, a number from 0 to 1.",
        tokens=160,
        schema=_scores_schema,
    ),
    "choice": Form(
        _read_choice,
        f"one letter and nothing else: {{0}} or {{1}}, or {TIE} if they are equally good.",
        tokens=8,
    ),
    "best": Form(_read_best, "one letter and nothing else: {ids}.", tokens=8),
    "rating": Form(
        _read_rating, "one digit and nothing else, from 0 (worst) to 9 (best).", tokens=8
    ),
    "yes_no": Form(_read_yes_no, "one word and nothing else: yes or no.", tokens=8),
}
