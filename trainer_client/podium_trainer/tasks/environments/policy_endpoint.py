"""Stand for the policy where a framework asks an OpenAI endpoint for chat completions.

The framework's request waits until the trainer has sampled the completion:

    framework ── POST /v1/chat/completions ──► next_request() ──► the trainer samples
    framework ◄── 200, or a stream ─────────── answer(message) ◄──┘
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

MAX_BODY = 64 * 2**20
Wire = dict[str, Any]


class PolicyEndpoint:
    """An endpoint on a free port of this machine. Start it, and close it."""

    def __init__(self) -> None:
        self._requests: asyncio.Queue[tuple[Wire, asyncio.Future[Wire]]] = asyncio.Queue()
        self._asked: asyncio.Future[Wire] | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen, and return the base URL."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def next_request(self) -> Wire:
        """Wait for the next request, and return its body; `answer` is for this one."""
        body, self._asked = await self._requests.get()
        return body

    def answer(self, message: Mapping[str, Any]) -> None:
        """Answer the request that was returned last, with an assistant's message."""
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(dict(message))

    async def close(self) -> None:
        """Stop listening; requests that still wait are broken off."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        future: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._requests.put_nowait((body, future))
        message = await future
        finish_reason = "tool_calls" if message.get("tool_calls") else "stop"
        if not body.get("stream"):
            return web.json_response(completion(body, message, finish_reason))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks(body, message, finish_reason):
            await response.write(f"data: {chunk}\n\n".encode())
        await response.write_eof()
        return response


def completion(body: Wire, message: Wire, finish_reason: str) -> Wire:
    """Write an answer that comes whole."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return envelope(body, "chat.completion") | {"choices": [choice], "usage": usage()}


def chunks(body: Wire, message: Wire, finish_reason: str) -> list[str]:
    """Write an answer that comes as a stream."""
    calls = [{"index": n} | call for n, call in enumerate(message.get("tool_calls") or [])]
    delta = message | ({"tool_calls": calls} if calls else {})
    first = {"index": 0, "delta": delta, "finish_reason": None}
    last: Wire = {"index": 0, "delta": {}, "finish_reason": finish_reason}
    head = envelope(body, "chat.completion.chunk")
    parts: list[Wire] = [
        {"choices": [first]},
        {"choices": [last]},
        {"choices": [], "usage": usage()},
    ]
    return [*(json.dumps(head | part) for part in parts), "[DONE]"]


def envelope(body: Wire, kind: str) -> Wire:
    """Write what all answers have."""
    return {"id": "podium", "object": kind, "created": 0, "model": str(body.get("model"))}


def usage() -> Wire:
    """Write a usage of nothing, because the trainer counts its tokens itself."""
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
