"""Fakes, all of them. The judge is a real server over TCP that plays a script."""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import exp, log
from random import Random
from typing import Any

_TRAJECTORY = re.compile(r'<(trajectory|response)-(\w+) id="(\w+)">\n(.*?)\n</\1-\2>', re.DOTALL)
_PLAIN = re.compile(r"^Answer(?: ([A-Z]))?:\n(.*?)\n(?=\n)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Asked:
    """One call as the judge saw it; `path` is the target of the request, with its query."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str = ""

    @property
    def shown(self) -> dict[str, str]:
        """id -> text of the trajectories, in the order shown."""
        fenced = {found[3]: found[4] for found in _TRAJECTORY.finditer(self._user)}
        return fenced or {found[1] or "": found[2] for found in _PLAIN.finditer(self._user)}

    @property
    def question(self) -> str:
        """The last line of the first message of the user."""
        return self._user.rpartition("\n")[2]

    @property
    def text(self) -> str:
        return "\n".join(_text(message["content"]) for message in self.body["messages"])

    @property
    def images(self) -> dict[str, str]:
        """label -> URL of the images, in the order shown."""
        user = next(m for m in self.body["messages"] if m["role"] == "user")
        parts = user["content"] if isinstance(user["content"], list) else []
        return {
            before["text"].split("\n")[-2].removesuffix(":"): part["image_url"]["url"]
            for before, part in pairwise(parts)
            if part["type"] == "image_url"
        }

    @property
    def _user(self) -> str:
        return _text(next(m for m in self.body["messages"] if m["role"] == "user")["content"])


def _text(content: str | list[dict[str, Any]]) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return "".join(part["text"] for part in parts if part["type"] == "text")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `body=None` drops the connection, `delay_s` waits first, `sent` is called as
    it goes out."""

    body: dict[str, Any] | str | bytes | None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    sent: Callable[[], None] = lambda: None


Step = Callable[[Asked], Answer]


def says(text: str | None, finish_reason: str = "stop", tokens: int = 10, **message: Any) -> Step:
    """Answer with a chat completion with this text, of so many completion tokens."""
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": text, **message},
    }
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": tokens,
        "total_tokens": 100 + tokens,
        "prompt_tokens_details": {"cached_tokens": 40},
    }
    body = {"id": "c", "object": "chat.completion", "model": "m-1", "choices": [choice]}
    return lambda asked: Answer({**body, "usage": usage})


def scores(score: Callable[[str], float], delay_s: float = 0.0) -> Step:
    """Answer with a faithful verdict: `score` of each trajectory's text."""

    def step(asked: Asked) -> Answer:
        verdict = {
            shown_id: {"explanation": f"{shown_id} is what it is", "score": score(text)}
            for shown_id, text in asked.shown.items()
        }
        answer = says(json.dumps(verdict))(asked)
        return Answer(answer.body, delay_s=delay_s)

    return step


def chooses(
    prefers: Callable[[str, str], float], *, logprobs: bool = True, before: str = ""
) -> Step:
    """Choose faithfully between two: `prefers` is the probability that the first is better.

    With logprobs, each letter's mass is split over a token with and one without a blank, as in
    vocabularies; without, the likelier letter is named, or a tie.
    """

    def step(asked: Asked) -> Answer:
        (first, one), (second, two) = asked.shown.items()
        likely = prefers(one, two)
        letter = "=" if likely == 0.5 else first if likely > 0.5 else second
        if not logprobs:
            return says(before + letter)(asked)
        return _answers_by_token(asked, before, letter, {first: likely, second: 1 - likely})

    return step


def rates(rating: Callable[[str], float], *, logprobs: bool = True) -> Step:
    """Rate one faithfully: `rating` of its text, from 0 to 9, is the expected digit."""

    def step(asked: Asked) -> Answer:
        [text] = asked.shown.values()
        expected = rating(text)
        low = min(8, int(expected))
        high = expected - low
        digit = str(low + (high > 0.5))
        if not logprobs:
            return says(digit)(asked)
        return _answers_by_token(asked, "", digit, {str(low): 1 - high, str(low + 1): high})

    return step


def names_best(
    quality: Callable[[str], float],
    *,
    slot: Callable[[int], float] = lambda slot: 0.0,
    logprobs: bool = True,
) -> Step:
    """Choose faithfully among several, by a logit of utilities.

    A letter's utility, in nats, is `quality` of its text plus the `slot` effect.
    """

    def step(asked: Asked) -> Answer:
        utilities = [quality(text) + slot(each) for each, text in enumerate(asked.shown.values())]
        total = sum(exp(each) for each in utilities)
        likely = dict(zip(asked.shown, [exp(each) / total for each in utilities], strict=True))
        letter = max(likely, key=likely.__getitem__)
        return _answers_by_token(asked, "", letter, likely) if logprobs else says(letter)(asked)

    return step


def says_yes(chance: Callable[[str], float], *, logprobs: bool = True) -> Step:
    """Say faithfully yes or no about one: `chance` of its text is the probability of a yes."""

    def step(asked: Asked) -> Answer:
        [text] = asked.shown.values()
        likely = {"Yes": chance(text), "no": 1 - chance(text)}
        word = max(likely, key=likely.__getitem__)
        return _answers_by_token(asked, "", word, likely) if logprobs else says(word)(asked)

    return step


def whatever_is_asked(score: Callable[[str], float]) -> Step:
    """Answer any form of question faithfully, by the `score` of a text, from 0 to 1."""

    def step(asked: Asked) -> Answer:
        if "Reply yes or no" in asked.question:
            return says_yes(score)(asked)
        if "Reply with one letter" in asked.question:
            return names_best(lambda text: 8 * score(text))(asked)
        if len(asked.shown) == 1:
            return rates(lambda text: min(9.0, 9 * score(text)))(asked)
        if all(len(shown) == 1 for shown in asked.shown):
            return chooses(lambda one, two: 1 / (1 + exp(20 * (score(two) - score(one)))))(asked)
        return scores(score)(asked)

    return step


def _answers_by_token(asked: Asked, before: str, label: str, likely: dict[str, float]) -> Answer:
    body = says(before + label)(asked).body
    assert isinstance(body, dict)
    if asked.body.get("logprobs"):
        words = [_token(word, {word: 1.0}) for word in re.findall(r" ?[^ ]+ ?", before)]
        tops = {
            f"{blank}{each}": probability / 2
            for each, probability in likely.items()
            for blank in ("", " ")
            if probability
        }
        body["choices"][0]["logprobs"] = {"content": [*words, _token(label, tops)]}
    return Answer(body)


def _token(text: str, tops: dict[str, float]) -> dict[str, Any]:
    """Return one token of a reply as endpoints give it, with the likeliest in its place."""
    listed = [{"token": each, "logprob": log(chance)} for each, chance in tops.items()]
    return {"token": text, "logprob": log(tops.get(text, 1e-9)), "top_logprobs": listed}


def misplaces(planted: Callable[[str], bool], score: Callable[[str], float]) -> Step:
    """Answer without reading: what was planted gets the best score."""
    return scores(lambda text: 1.0 if planted(text) else score(text))


def counted(step: Step, *, completion: int | None = None) -> Step:
    """Give the same answer with the tokens of an honest bill.

    These are a third of the bytes read, and so many written; the whole cap by default.
    """

    def billed(asked: Asked) -> Answer:
        answer = step(asked)
        assert isinstance(answer.body, dict)
        prompt = len(asked.text.encode()) // 3
        cap = asked.body.get("max_completion_tokens") or asked.body["max_tokens"]
        wrote = cap if completion is None else min(cap, completion)
        usage = {"prompt_tokens": prompt, "completion_tokens": wrote}
        return replace(answer, body={**answer.body, "usage": usage})

    return billed


def at_random(steps: Sequence[Step], seed: int) -> Step:
    """Take one of the steps for each call."""
    random = Random(seed)
    return lambda asked: random.choice(steps)(asked)


def fails(status: int, message: str = "no", code: str | None = None, **headers: str) -> Step:
    """Answer with an error in OpenAI's form."""
    body = {"error": {"message": message, "type": "e", "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked: Answer(body, status, named)


def later(step: Step, delay_s: float) -> Step:
    """Give the same answer, after a while."""
    return lambda asked: replace(step(asked), delay_s=delay_s)


def drops(asked: Asked) -> Answer:
    """Break the connection."""
    return Answer(None)


def hangs(asked: Asked) -> Answer:
    """Give no answer for an hour."""
    return Answer({}, delay_s=3600.0)


def by_length(text: str) -> float:
    """Score so that anyone can check it: longer is better."""
    return min(1.0, len(text) / 1000)


class ScriptedJudge:
    """Plays `script`, a step a call; then `always`. Running out of both fails the test.

    With `hold`, no call is answered before that many have come. With `slots`, it works on so many
    calls at once, in the order in which they came; also on those whose callers have left.
    """

    def __init__(
        self,
        script: Sequence[Step] = (),
        *,
        always: Step | None = None,
        max_model_len: int | None = None,
        hold: int = 0,
        slots: int = 10**9,
    ) -> None:
        self.script = deque(script)
        self.always = always
        self.asked: list[Asked] = []
        self.listed: list[dict[str, str]] = []  # the headers of each GET /models
        self.dry = 0
        self.hold = hold
        self.in_flight = 0
        self.max_in_flight = 0
        self.seen_in_flight: list[int] = []  # as each call came, itself included
        self._slots = asyncio.Semaphore(slots)
        self.connected = 0
        self.models = {"data": [{"id": "m", "object": "model", "max_model_len": max_model_len}]}
        self.url = ""

    @property
    def calls(self) -> int:
        return len(self.asked)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["ScriptedJudge"]:
        """Listen on a loopback port, by default a random one; end what is open at the exit."""
        connections: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not server.is_serving():  # it came just before the end
                writer.transport.abort()
                return
            task = asyncio.create_task(self._converse(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            for task in list(connections):
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            assert not self.dry, f"the script ran dry {self.dry} times"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            while answer := await self._answer(reader):
                if answer.body is None:
                    break
                writer.write(_http(answer))
                answer.sent()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connected -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(":", 1) for line in head[1:] if ":" in line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if head[0].startswith("GET"):
            self.listed.append(headers)
            return Answer(self.models)
        asked = Asked(json.loads(content), headers, head[0].split(" ")[1])
        self.asked.append(asked)
        answer = self._next_step()(asked)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.seen_in_flight.append(self.in_flight)
        try:
            await until(lambda: self.calls >= self.hold)
            async with self._slots:
                await asyncio.sleep(answer.delay_s)
        finally:
            self.in_flight -= 1
        return answer

    def _next_step(self) -> Step:
        if self.script:
            return self.script.popleft()
        if self.always is None:
            self.dry += 1
            return fails(500, "the script is dry")
        return self.always


def _http(answer: Answer) -> bytes:
    body = json.dumps(answer.body) if isinstance(answer.body, dict) else answer.body or b""
    content = body if isinstance(body, bytes) else body.encode()
    headers = {"content-type": "application/json", "content-length": str(len(content))}
    lines = [f"{name}: {value}" for name, value in {**headers, **answer.headers}.items()]
    return "\r\n".join([f"HTTP/1.1 {answer.status} X", *lines, "", ""]).encode() + content


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], at_most_s: float = 30.0
) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(at_most_s):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await asyncio.sleep(0.01)
