"""Play one attempt on a server that holds its environment.

`Session` speaks OpenEnv's WebSocket protocol. A connection is a session with an environment of its
own; for an HTTP request OpenEnv makes a new environment, so that requests would have no state:

    {"type": "reset", "data": {"seed": 3}}         -> {"type": "observation", "data": ANSWER}
    {"type": "step", "data": {"message": "..."}}   -> {"type": "observation", "data": ANSWER}

`Posts` speaks to servers that keep an episode by its id between requests:

    POST /reset  {"seed": 3, "episode_id": "..."}                           -> ANSWER
    POST /step   {"action": {"message": "..."}, "episode_id": "..."}        -> ANSWER

An ANSWER is `{"observation": ..., "reward": 1, "done": true}`; `terminated` or `truncated` end an
episode as well, and one that is truncated without being terminated was cut off. A server that gives
an `episode_id` or `session_id` of its own gets it back, and so it does its cookies.
"""

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from podium_trainer.tasks.task import EnvironmentFault, Message, Prompt, Step

IDS = ("episode_id", "session_id")
TEXTS = ("messages", "message", "text", "prompt", "content")
ENDS = ("done", "terminated", "truncated")
MAX_QUOTED = 200
CLOSE_S = 3.0  # how long a server has to free the place of a session


class ServerError(EnvironmentFault):
    """The server does not answer, or with an error, or with something that is no observation."""


@dataclass(frozen=True)
class Fields:
    """The fields in which a server's texts stand.

    Attributes:
        action: the field of an action that gets the model's text; None sends the text itself.
        observation: the field of an observation that the model reads; None takes the first that is
            there of TEXTS, else the whole observation as JSON.
    """

    action: str | None
    observation: str | None

    def write(self, completion: Message) -> Any:
        """Return the action that a completion means; a JSON object is sent as it is."""
        text = str(completion.get("content") or "")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        return text if self.action is None else {self.action: text}

    def read(self, answer: Mapping[str, Any]) -> Step:
        """Return the step that an answer tells."""
        reward = answer.get("reward")
        is_done = any(bool(answer.get(name)) for name in ENDS)
        is_truncated = bool(answer.get("truncated")) and not answer.get("terminated")
        return Step(self._text(answer["observation"]), is_done, reward, is_truncated)

    def _text(self, observation: Any) -> Any:
        """Return the text or the messages of an observation."""
        if isinstance(observation, str):
            return observation
        if isinstance(observation, Mapping):
            names = TEXTS if self.observation is None else (self.observation,)
            for name in names:
                if isinstance(observation.get(name), str | list):
                    return observation[name]
            if self.observation is not None:
                there = ", ".join(map(str, observation)) or "none"
                raise ServerError(
                    f"the observation has no text {self.observation!r}; its fields are {there}"
                )
        return json.dumps(observation, ensure_ascii=False)


class Posts:
    """An episode whose steps are HTTP requests.

    Args:
        url: of the server.
        fields: where its texts stand.
    """

    def __init__(self, url: str, fields: Fields) -> None:
        self._url = url.rstrip("/")
        self._fields = fields
        self._ids: dict[str, str] = {"episode_id": uuid.uuid4().hex}
        self._client: Any = None

    async def reset(self, prompt: Prompt) -> Any:
        """Begin an episode with the prompt's arguments, and return what is observed."""
        import aiohttp

        self._client = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        answer = await self._post("reset", {**prompt.row, **self._ids})
        self._ids.update({name: answer[name] for name in IDS if isinstance(answer.get(name), str)})
        return self._fields.read(answer).messages

    async def step(self, completion: Message) -> Step:
        """Send the model's text as an action."""
        action = self._fields.write(completion)
        return self._fields.read(await self._post("step", {"action": action, **self._ids}))

    async def close(self) -> None:
        """End the connections; a server forgets an episode by itself."""
        if self._client is not None:
            await self._client.close()

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and return its answer.

        Raises:
            ServerError: If it is an error, or has no observation.
        """
        url = f"{self._url}/{path}"
        with naming_faults(url):
            async with self._client.post(url, json=body) as response:
                text = await response.text()
        if response.status >= 400:
            raise ServerError(f"{url} answered {response.status}: {quote(text)}")
        return read_answer(url, text)


class Session:
    """An episode whose steps are messages of a WebSocket, as OpenEnv has them.

    Args:
        url: of the socket, such as ws://127.0.0.1:8000/ws.
        fields: where the server's texts stand.
    """

    def __init__(self, url: str, fields: Fields) -> None:
        self._url = url
        self._fields = fields
        self._client: Any = None
        self._socket: Any = None

    async def reset(self, prompt: Prompt) -> Any:
        """Connect, begin an episode with the prompt's arguments, and return what is observed."""
        import aiohttp

        self._client = aiohttp.ClientSession()
        with naming_faults(self._url):
            self._socket = await self._client.ws_connect(self._url)
        return self._fields.read(await self._ask("reset", dict(prompt.row))).messages

    async def step(self, completion: Message) -> Step:
        """Send the model's text as an action."""
        return self._fields.read(await self._ask("step", self._fields.write(completion)))

    async def close(self) -> None:
        """End the session and the connection."""
        if self._socket is not None and not self._socket.closed:
            await self._socket.send_json({"type": "close"})
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    async for _ in self._socket:  # until the server has freed the place and left
                        pass
            await self._socket.close()
        if self._client is not None:
            await self._client.close()

    async def _ask(self, kind: str, data: Any) -> dict[str, Any]:
        """Send a message, and return the data of its answer.

        Raises:
            ServerError: If it is an error, or has no observation.
        """
        import aiohttp

        with naming_faults(self._url):
            await self._socket.send_json({"type": kind, "data": data})
            message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ServerError(f"{self._url} closed the connection: {quote(str(message.extra))}")
        return read_message(self._url, message.data)


@contextmanager
def naming_faults(url: str) -> Iterator[None]:
    """Turn what a connection raises into a ServerError that names the URL."""
    from aiohttp import ClientError

    try:
        yield
    except (ClientError, OSError, ValueError) as error:  # ValueError: no text in its encoding
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ServerError(f"{url} does not answer: {quote(words)}") from error


def read_message(url: str, text: str) -> dict[str, Any]:
    """Return the data of an OpenEnv message, which must be an observation."""
    message = read_json(url, text)
    if message.get("type") != "observation":
        raise ServerError(f"{url} answered {quote(json.dumps(message.get('data', message)))}")
    return check_answer(url, message.get("data"))


def read_answer(url: str, text: str) -> dict[str, Any]:
    """Return an answer from its text."""
    return check_answer(url, read_json(url, text))


def read_json(url: str, text: str) -> dict[str, Any]:
    """Return the object that a text is in JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ServerError(f"{url} answered no JSON: {quote(text)}") from error
    return value if isinstance(value, dict) else {}


def check_answer(url: str, answer: Any) -> dict[str, Any]:
    """Return an answer, which must have an observation."""
    if not isinstance(answer, dict) or "observation" not in answer:
        raise ServerError(f"{url} answered without an observation")
    return answer


def quote(text: str) -> str:
    """Return the beginning of a text in one line."""
    return " ".join(text.split())[:MAX_QUOTED]
