"""Serve vLLM's protocol over loopback without a model: adapters, pausing, weight labels."""

import asyncio
import inspect
import json
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from anyio.from_thread import start_blocking_portal

if TYPE_CHECKING:
    from tests.trainer.fake_transfer import FakeTransfer

Wire = dict[str, Any]
LOGPROBS = [-0.1, -0.7, -1.6, -3.0, -5.0]


Answer = tuple[int, object]
NO_ROUTE: Answer = (404, {"detail": "Not Found"})


def fault(status: int, message: str = "explained in one line") -> Answer:
    """Return an error answer in vLLM's form."""
    return status, {"error": {"message": message, "type": "E", "param": None, "code": status}}


class FakeVllm:
    """One server.

    Attributes:
        calls: (path, body) of every POST since the list was last cleared.
        faults: by path, what replaces the answers of its next calls, one each: an answer, or
            seconds to wait before the usual answer.
        release: an event that ends all such waits.
        spoil: changes a choice before it is sent.
        draw: draws the tokens of a completion from the prompt's and the completion's number.
        spans: the `weight_versions` of every choice; None for one span with the current label.
        adapters: the folder of each loaded adapter, by name.
        label: the current label of the weights.
        reloaded: the folder of the last full reload.
        root: the model's folder, as /v1/models reports it.
        is_hung: whether it takes requests and answers none.
        dtype: what it computes in, as /server_info reports it; None for a server without it.
        transfer: takes weights over the network; None for a server that does not.
        can_sleep: whether it sleeps when it says so.
        is_asleep: whether it sleeps.
    """

    def __init__(
        self,
        *,
        model: str = "policy",
        max_model_len: int = 1024,
        scale_out: bool = True,
        raw_logprobs: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        num_workers: int = 0,
    ) -> None:
        self.model = model
        self.max_model_len = max_model_len
        self.scale_out = scale_out
        self.raw_logprobs = raw_logprobs
        self.calls: list[tuple[str, Wire]] = []
        self.keys: set[str | None] = set()
        self.faults: dict[str, deque[Answer | float]] = defaultdict(deque)
        self.release = threading.Event()
        self.spoil: Callable[[Wire], Wire] = lambda choice: choice
        self.draw: Callable[[list[int], int], list[int]] | None = None
        self.spans: list[Wire] | None = None
        self.adapters: dict[str, str] = {}
        self.label = "default"
        self.reloaded: str | None = None
        self.is_paused = False
        self.root = "/models/policy"
        self.is_hung = False
        self.dtype: str | None = None
        self.transfer = self._make_transfer(num_workers) if num_workers else None
        self.can_sleep, self.is_asleep = True, False
        self.url = ""
        self._host, self._port = host, port

    def _make_transfer(self, num_workers: int) -> "FakeTransfer":
        # Only here, because it loads torch, which servers that are processes of their own lack.
        from tests.trainer.fake_transfer import FakeTransfer

        return FakeTransfer(self._set_label, num_workers)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    @contextmanager
    def serving(self) -> Iterator["FakeVllm"]:
        """Listen on a port, a free one unless it is given; break all connections at the end.

        Again: listen on that port as a process does that has started anew.
        """
        self.adapters, self.label, self.reloaded = {}, "default", None
        self.is_paused = False
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._listen()):
            yield self

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        conversations: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not server.is_serving():  # the connection came while the server was closing
                writer.transport.abort()
                return
            task = asyncio.create_task(self._converse(reader, writer))
            conversations.add(task)
            task.add_done_callback(conversations.discard)

        server = await asyncio.start_server(connected, self._host, self._port)
        self._port = server.sockets[0].getsockname()[1]
        self.url = f"http://{self._host}:{self._port}"
        try:
            yield
        finally:
            server.close()
            for task in list(conversations):
                task.cancel()
            if self.transfer:
                self.transfer.die()
            await asyncio.gather(*conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, target, _ = head[0].split(" ")
                pairs = (line.split(":", 1) for line in head[1:] if ":" in line)
                headers = {name.lower(): value.strip() for name, value in pairs}
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                self.keys.add(headers.get("authorization"))
                while self.is_hung:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                status, body = await self._answer(method, target, content)
                text = json.dumps(body).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, target: str, content: bytes) -> Answer:
        path, _, query = target.partition("?")
        if method == "GET":
            return self._get(path)
        body: Wire = json.loads(content) if content else dict(parse_qsl(query))
        self.calls.append((path, body))
        if self.faults[path]:
            replacement = self.faults[path].popleft()
            if isinstance(replacement, tuple):
                return replacement
            await self._wait(replacement)
        usual: dict[str, Callable[[Wire], Answer | Awaitable[Answer]]] = {
            "/inference/v1/generate": self._generate,
            "/v1/completions": self._completions,
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
            "/pause": self._pause,
            "/resume": self._resume,
            "/collective_rpc": self._reload,
            "/update_weight_version": self._name,
            "/sleep": self._sleep,
            "/wake_up": self._wake,
        }
        if self.transfer:
            usual |= self.transfer.routes
        answer = usual[path](body) if path in usual else NO_ROUTE
        return await answer if inspect.isawaitable(answer) else answer

    async def _wait(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not self.release.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def _get(self, path: str) -> Answer:
        answers: dict[str, Callable[[], Answer]] = {
            "/health": lambda: (200, ""),
            "/v1/models": self._models,
            "/weight_info": lambda: (200, {"weight_version": self.label}),
            "/is_paused": lambda: (200, {"is_paused": self.is_paused}),
            "/is_sleeping": lambda: (200, {"is_sleeping": self.is_asleep}),
        }
        if self.dtype:
            config = {"model_config": {"dtype": f"torch.{self.dtype}"}}
            answers["/server_info"] = lambda: (200, {"vllm_config": config})
        if self.transfer:
            size = {"world_size": self.transfer.num_workers}
            answers["/get_world_size"] = lambda: (200, size)
        return answers[path]() if path in answers else NO_ROUTE

    def _models(self) -> Answer:
        names = [self.model, *self.adapters]
        entries = [
            {"id": name, "root": self.root, "max_model_len": self.max_model_len} for name in names
        ]
        return 200, {"object": "list", "data": entries}

    def _serves(self, body: Wire) -> bool:
        return body["model"] in (self.model, *self.adapters)

    def _generate(self, body: Wire) -> Answer:
        if not self.scale_out:
            return fault(403, "disabled")
        if not self._serves(body):
            return fault(404, f"The model `{body['model']}` does not exist.")
        choices = []
        for index in range(body["sampling_params"].get("n", 1)):
            tokens, logprobs = draw_completion(body["sampling_params"]["max_tokens"])
            if self.draw is not None:
                tokens = self.draw(body["token_ids"], index)[: len(tokens)]
            span = {"version": self.label, "start": 0, "end": len(tokens)}
            pairs = zip(tokens, logprobs, strict=True)
            choice = {
                "index": index,
                "finish_reason": "length",
                "token_ids": tokens,
                "weight_versions": [span] if self.spans is None else self.spans,
                "logprobs": {"content": [{"token_id": t, "logprob": lp} for t, lp in pairs]},
            }
            choices.append(self.spoil(choice))
        return 200, {"choices": choices[::-1]}

    def _completions(self, body: Wire) -> Answer:
        if not self._serves(body):
            return fault(404, f"The model `{body['model']}` does not exist.")
        choices = []
        for index in range(body.get("n", 1)):
            tokens, logprobs = draw_completion(body["max_tokens"])
            scale = 1.0 if self.raw_logprobs else body["temperature"]
            top = {str(place): lp / scale for place, lp in enumerate(LOGPROBS)}
            choice = {
                "index": index,
                "finish_reason": "length",
                "token_ids": tokens,
                "logprobs": {"token_logprobs": logprobs, "top_logprobs": [top] * len(tokens)},
            }
            choices.append(self.spoil(choice))
        return 200, {"choices": choices}

    def _load(self, body: Wire) -> Answer:
        if body["lora_name"] in self.adapters:
            return fault(400, "has already been loaded")
        self.adapters[body["lora_name"]] = body["lora_path"]
        return 200, "Success"

    def _unload(self, body: Wire) -> Answer:
        if self.adapters.pop(body["lora_name"], None) is None:
            return fault(404, "The lora adapter cannot be found.")
        return 200, "Success"

    def _pause(self, body: Wire) -> Answer:
        assert body == {"mode": "keep"}
        self.is_paused = True
        return 200, {"status": "paused"}

    def _resume(self, body: Wire) -> Answer:
        self.is_paused = False
        return 200, {"status": "resumed"}

    def _reload(self, body: Wire) -> Answer:
        assert self.is_paused
        assert body["method"] == "reload_weights"
        self.reloaded = body["kwargs"]["weights_path"]
        return 200, {"results": [None]}

    def _sleep(self, body: Wire) -> Answer:
        assert body == {"level": "1"}
        self.is_asleep = self.can_sleep
        return 200, {"status": "sleeping", "level": 1}

    def _wake(self, body: Wire) -> Answer:
        self.is_asleep = False
        return 200, {"status": "awake", "tags": None}

    def _name(self, body: Wire) -> Answer:
        self._set_label(body["new_version"])
        return 200, {"success": True}

    def _set_label(self, label: str) -> None:
        assert self.is_paused
        self.label = label


def varied(choice: Wire) -> Wire:
    """Draw other tokens for a choice, so that the judge of runs.py tells it from its neighbours."""
    bounds = (28, 48) if choice["index"] % 2 else (3, 28)  # the latter are digits and signs
    tokens = [random.randrange(*bounds) for _ in choice["token_ids"]]
    content = [{"token_id": token, "logprob": -1.0} for token in tokens]
    return choice | {"token_ids": tokens, "logprobs": {"content": content}}


def by_prompt(prompt: list[int], index: int) -> list[int]:
    """Draw a completion that is the same each time, on each server."""
    draws = random.Random(f"{prompt} {index}")
    return [draws.randrange(3, 48) for _ in range(64)]


def draw_completion(count: int) -> tuple[list[int], list[float]]:
    """Return the token ids and logprobs of every completion."""
    return list(range(11, 11 + count)), [-0.5 * (t + 1) for t in range(count)]
