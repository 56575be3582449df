"""Direct questions, as a person would type them: what a judge can tell if nothing is in its way.

They go straight to the endpoint, past the service: no tags, no rubric, no defences. Replies are
kept in a file, and not paid again.

To add one: write a function from a group to its prompts, and one from their replies to a value for
each attempt; enter both in `QUESTIONS`.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from string import ascii_uppercase as LETTERS
from typing import Any

import httpx
import numpy as np

from benchmarks.alignment.ruler import LIMITS
from benchmarks.content import Labelled
from benchmarks.groups import Group, Message
from benchmarks.real_judge.asking import Answered, Clock, Readings
from podium_service.prompts.labels import label_logprobs, read_probabilities
from podium_service.prompts.reply import Reply, read_completion
from podium_service.prompts.verdict import Fault
from podium_service.prompts.wording import YES_NO
from podium_service.ranking.methods.designs import balanced_orders

IN_FLIGHT = 16
TIMEOUT_S = 3000.0
PASSES = 4


@dataclass(frozen=True)
class Question:
    """One direct question.

    Attributes:
        prompts: the texts to send about a group.
        values: the replies' values of the attempts.
        passes: how often each attempt is shown.
    """

    prompts: Callable[[Group], list[str]]
    values: Callable[[Sequence[Reply], Group], list[float]]
    passes: Callable[[int], int]


def context_of(group: Group) -> str:
    """Return what was asked of the agent, and the reference if there is one."""
    shared = takewhile(_all_equal, zip(*_members(group), strict=False))
    asked = "\n\n".join(turns[0]["content"] for turns in shared)
    known = f"\n\nReference answer:\n{group['reference']}" if group.get("reference") else ""
    return f"Task:\n{group['task'] or asked}{known}"


def answers_of(group: Group) -> list[str]:
    """Return what each attempt says or does, after the messages that all begin with."""
    num_shared = sum(1 for _ in takewhile(_all_equal, zip(*_members(group), strict=False)))
    return ["\n".join(map(_said, messages[num_shared:])).strip() for messages in _members(group)]


def _said(message: Message) -> str:
    """Return a message without its form: the arguments of a call, or its result."""
    calls = [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
    parts = [str(value) for arguments in calls for value in arguments.values()]
    text = message.get("content") or ""
    if text:
        parts.insert(0, f"Result: {text}" if message["role"] == "tool" else text)
    return "\n".join(parts)


def _members(group: Group) -> list[list[Message]]:
    return [trajectory["messages"] for trajectory in group["trajectories"]]


def _all_equal(turns: Sequence[Message]) -> bool:
    return all(turn == turns[0] for turn in turns)


# One letter of all


def letter_passes(num_attempts: int) -> int:
    """Return how many orders are asked; a pair has two."""
    return 2 if num_attempts == 2 else PASSES


def _orders(group: Group) -> list[list[int]]:
    seed = int(sha256(group["group_id"].encode()).hexdigest()[:8], 16)
    size = len(group["trajectories"])
    return balanced_orders(size, letter_passes(size), seed)


def letter_prompts(group: Group) -> list[str]:
    """Return prompts that ask which answer is best, in balanced orders."""
    context, answers = context_of(group), answers_of(group)
    letters = LETTERS[: len(answers)]
    which = "better" if len(answers) == 2 else "best"
    named = f"{', '.join(letters[:-1])} or {letters[-1]}"
    question = f"Which answer is {which}, {named}? Reply with one letter."
    return [
        "\n\n".join([
            context,
            *(f"Answer {letter}:\n{answers[i]}" for letter, i in zip(letters, order, strict=True)),
            question,
        ])
        for order in _orders(group)
    ]  # fmt: skip


def letter_values(replies: Sequence[Reply], group: Group) -> list[float]:
    """Return log-probabilities of letters less their mean, averaged over the orders read."""
    size = len(group["trajectories"])
    sums = np.zeros(size)
    for reply, order in zip(replies, _orders(group), strict=False):
        logprobs = label_logprobs(reply, LETTERS[:size])
        if logprobs is None:
            raise Fault("it gives no probabilities")
        sums[order] += np.array(logprobs) - np.mean(logprobs)
    return [round(float(each), 9) for each in sums]


# Yes or no, one attempt at a time


def yes_prompts(question: str, group: Group) -> list[str]:
    context = context_of(group)
    return [f"{context}\n\nAnswer:\n{answer}\n\n{question}" for answer in answers_of(group)]


def yes_values(replies: Sequence[Reply], group: Group) -> list[float]:
    return [read_probabilities(reply, YES_NO)[0] for reply in replies]


QUESTIONS = {
    "direct letter": Question(letter_prompts, letter_values, letter_passes),
    "direct yes or no": Question(
        lambda group: yes_prompts("Is this answer correct? Reply yes or no.", group),
        yes_values,
        lambda _: 1,
    ),
}


@dataclass
class Direct:
    """Asks one endpoint, and keeps what was paid for.

    Attributes:
        url: up to and including `/v1`.
        file: JSON lines of replies.
    """

    url: str
    model: str
    file: Path
    kept: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.kept = {line["key"]: line["reply"] for line in map(json.loads, lines)}

    async def ask(
        self, questions: Mapping[str, Question], groups: Sequence[Labelled], clock: Clock
    ) -> dict[str, Readings]:
        """Ask every question about every group.

        Raises:
            httpx.HTTPError: If the judge does not answer.
        """
        found = {}
        for name, question in questions.items():
            prompts = [question.prompts(group.group) for group in groups]
            await self._send([text for each in prompts for text in each], name, clock)
            passes = question.passes(len(groups[0].truth))
            numbers = [num for num in (1, 2) if num < passes] + [passes]
            found[name] = {
                num: [
                    self._read(question, group.group, texts[: len(texts) * num // passes])
                    for group, texts in zip(groups, prompts, strict=True)
                ]
                for num in numbers
            }
        return found

    def _read(self, question: Question, group: Group, texts: Sequence[str]) -> Answered:
        replies = [read_completion(self.kept[self._key(text)]) for text in texts]
        spent = [reply.tokens for reply in replies]
        try:
            values = question.values(replies, group)
        except Fault:
            values = []
        return Answered(
            values,
            sum(each.prompt for each in spent),
            sum(each.completion for each in spent),
            len(replies),
            0 if values else len(replies),
        )

    async def _send(self, texts: Sequence[str], name: str, clock: Clock) -> None:
        missing = [text for text in dict.fromkeys(texts) if self._key(text) not in self.kept]
        if not missing:
            return
        started, places = time.perf_counter(), asyncio.Semaphore(IN_FLIGHT)

        async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=LIMITS, trust_env=False) as client:

            async def one(text: str) -> None:
                async with places:
                    response = await client.post(
                        f"{self.url}/chat/completions", json=self._body(text)
                    )
                reply = response.raise_for_status().json()
                self.kept[self._key(text)] = reply
                with self.file.open("a") as lines:
                    lines.write(json.dumps({"key": self._key(text), "reply": reply}) + "\n")

            await asyncio.gather(*map(one, missing))
        clock.add(name, started)

    def _body(self, text: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }

    def _key(self, text: str) -> str:
        return sha256(f"{self.model}\n{text}".encode()).hexdigest()
