"""A Podium service that answers from a script, and what its answers are made of.

The script is one function per request expected. Running out of script, or not using it up, fails
the test.
"""

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

Wire = dict[str, Any]
Answer = Callable[[httpx.Request], httpx.Response]


def ranking(group: Wire, rewards: Mapping[str, Any], **changes: Any) -> Wire:
    """Return a 200 answer that gives each id of `rewards` its reward, in the order of `rewards`."""
    results = [
        {"id": id, "rank": 1.0, "reward": reward, "score": None, "stderr": None, "flags": []}
        for id, reward in rewards.items()
    ]
    answer = {
        "id": "rk_1",
        "group_id": group.get("group_id"),
        "judge": "main",
        "model": None,
        "method": "listwise",
        "passes": 4,
        "results": results,
        "reliability": None,
        "cached": False,
        "usage": {"calls": 4, "cost_usd": None},
    }
    return answer | changes


def problem(status: int, code: str, *, retryable: bool, **more: Any) -> Wire:
    """Return a `problem+json` body."""
    return {
        "type": f"urn:podium:{code}",
        "title": "It went wrong",
        "status": status,
        "detail": "told in one line",
        "code": code,
        "retryable": retryable,
        "request_id": "rq_7",
        **more,
    }


def refuse(status: int, code: str, *, retryable: bool, headers: Wire | None = None) -> Answer:
    """Answer any request with a problem document."""
    body = problem(status, code, retryable=retryable)
    kind = {"content-type": "application/problem+json"}
    return lambda request: httpx.Response(status, json=body, headers=kind | (headers or {}))


def say(status: int = 200, **content: Any) -> Answer:
    """Answer any request with the same thing, given as `httpx.Response` takes it."""
    return lambda request: httpx.Response(status, **content)


def fail(exc: Exception) -> Answer:
    """Let the transport raise instead of answering."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise exc

    return answer


def ranked(index: int, group: Wire, rewards: Mapping[str, Any], **changes: Any) -> bytes:
    """Return a line of the batch answer for a ranked group."""
    wire = {"index": index, "group_id": group.get("group_id"), "status": "ranked"}
    return line(wire | {"ranking": ranking(group, rewards, **changes)})


def failed(index: int, status: int, code: str, *, retryable: bool) -> bytes:
    """Return a line of the batch answer for a group that failed."""
    wire = {"index": index, "group_id": None, "status": "failed"}
    return line(wire | {"problem": problem(status, code, retryable=retryable)})


def line(wire: object) -> bytes:
    """Return one NDJSON line; NaN and infinities are written as Python writes them."""
    return json.dumps(wire, ensure_ascii=False).encode() + b"\n"


class Stream(httpx.AsyncByteStream):
    """A body that comes in pieces and may break instead of ending."""

    def __init__(self, pieces: Sequence[bytes], breaks: Exception | None = None) -> None:
        self.pieces = pieces
        self.breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.breaks is not None:
            raise self.breaks


def stream(*pieces: bytes, breaks: Exception | None = None) -> Answer:
    """Answer any request with a stream."""
    return lambda request: httpx.Response(200, stream=Stream(pieces, breaks))


class Script:
    """A transport's handler that gives the scripted answers one by one and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        assert self.answers, f"the script has run dry at request {len(self.requests)}"
        return self.answers.pop(0)(request)

    @property
    def bodies(self) -> list[Wire]:
        return [json.loads(request.content) for request in self.requests]

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


@contextmanager
def scripted(*answers: Answer) -> Iterator[Script]:
    """Yield a script that must have been used up at the end of the block."""
    script = Script(*answers)
    yield script
    assert not script.answers, f"{len(script.answers)} scripted answers were never asked for"


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Run a real server for an ASGI app on a free loopback port; yield its URL."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
