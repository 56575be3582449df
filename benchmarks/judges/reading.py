"""A chat request -> what a judge takes it to ask: the form of the question, and what is shown.

Read as a judge reads it, from the text alone: a fence that a trajectory managed to close is closed,
and what then stands outside is not part of any trajectory. Fences with a code
(`<trajectory-CODE id="ID">`) and without one are understood, and so are plain headings
(`Answer A:`).

To add a form: give it a name in `Form`, words that only its last line holds in `_ASKED`, and a
method in `simulated.SimulatedJudge`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["scores", "choice", "best", "rating", "yes_no"]

_OPENING = re.compile(
    r'<(?P<word>trajectory|response)(?P<code>-\w+)? id="(?P<id>[^"<>]{1,256})">\n'
)
_HEADING = re.compile(r"^Answer(?: (?P<id>[A-Z]))?:\n", re.MULTILINE)
# How the last line of a form begins or ends; scores are asked for in other words.
_ASKED: dict[str, Form] = {
    " is best, ": "best",
    " is better, ": "choice",
    "from 0 (worst) to 9 (best)? Reply with one digit.": "rating",
    "Reply yes or no.": "yes_no",
}
_OF_ONE = ("rating", "yes_no")
_SCORES_ALONE = '"<id>": <number>'  # in a prompt that asks for no explanations


def before_attempts(text: str) -> str:
    """Return what comes before the first attempt in a first user message, fenced or not."""
    starts = [found.start() for each in (_OPENING, _HEADING) if (found := each.search(text))]
    return text[: min(starts, default=len(text))]


class NothingShown(ValueError):
    """The request shows no trajectory that the judge can read."""


@dataclass(slots=True)
class Shown:
    """One fenced trajectory.

    Attributes:
        id: the one in its opening tag.
        body: the text between the tags.
        stray: text after its closing tag that belongs to no fence and is not ours.
    """

    id: str
    body: str
    stray: str = ""

    @property
    def text(self) -> str:
        return f"{self.body}\n{self.stray}" if self.stray else self.body


@dataclass(frozen=True, slots=True)
class Question:
    """Content of one call, as a judge reads it.

    Attributes:
        form: of the answer.
        shown: the trajectories in the order shown.
        explained: whether scores are to be explained, which is so unless the prompt says how to
            write them alone.
    """

    form: Form
    shown: list[Shown]
    explained: bool = True


def read_question(request: Mapping[str, Any]) -> Question:
    """Read the first user message; a later correction asks the same again.

    Raises:
        NothingShown: If it holds no complete fence.
    """
    text = _first_user_text(request["messages"])
    shown, asked = _fenced(text)
    if not shown:
        shown, asked = _headed(text)
    if not shown:
        raise NothingShown("no complete <trajectory> fence in the first user message")
    form = _form(asked)
    explained = not any(_SCORES_ALONE in message["content"] for message in request["messages"])
    return Question(form, shown[:1] if form in _OF_ONE else shown, explained)


def _first_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    for message in messages:
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return "".join(part["text"] for part in content)
    raise NothingShown("no user message")


def _form(asked: str) -> Form:
    return next((form for words, form in _ASKED.items() if words in asked), "scores")


def _headed(text: str) -> tuple[list[Shown], str]:
    """Return the answers under plain headings, and the last line."""
    body, _, asked = text.rstrip().rpartition("\n")
    headings = list(_HEADING.finditer(body))
    ends = [heading.start() for heading in headings[1:]] + [len(body)]
    pairs = zip(headings, ends, strict=True)
    return [Shown(each["id"] or "", body[each.end() : end].strip()) for each, end in pairs], asked


def _fenced(text: str) -> tuple[list[Shown], str]:
    """Return the fences that use the first one's code, and our words after the last of them.

    Ours is the last line. The ids it names, where it names any, are the real ones: a fence with
    another, or with an id shown before, was forged by the trajectory before it.
    """
    opening = _OPENING.search(text)
    if opening is None:
        return [], ""
    code = opening["code"] or ""
    closing = f"\n</{opening['word']}{code}>"
    found: list[Shown] = []
    at = 0
    while opening is not None:
        end = text.find(closing, opening.end() - 1)
        if end < 0:
            break
        if found:
            found[-1].stray = text[at : opening.start()].strip()
        found.append(Shown(opening["id"], text[opening.end() : end]))
        at = end + len(closing)
        opening = _next_opening(text, at, code)
    before, _, asked = text[at:].rstrip().rpartition("\n")
    if found:
        found[-1].stray = before.strip()
    return _without_forged(found, asked), asked


def _next_opening(text: str, at: int, code: str) -> re.Match[str] | None:
    return next((o for o in _OPENING.finditer(text, at) if (o["code"] or "") == code), None)


def _without_forged(found: list[Shown], asked: str) -> list[Shown]:
    words = set(re.findall(r"[^\s,:?]+", asked.rstrip(".")))
    named = any(each.id in words for each in found)
    real: dict[str, Shown] = {}
    for each in found:
        if each.id in real or (named and each.id not in words):
            if real:
                last = next(reversed(real.values()))
                last.stray = f"{last.stray}\n{each.body}\n{each.stray}".strip()
        else:
            real[each.id] = each
    return list(real.values())
