"""The HTTP half of a benchmark's judge: routes -> an asyncio protocol that answers fast."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools

Answer = tuple[int, bytes]
Route = Callable[[bytes], Answer]
Routes = Mapping[tuple[bytes, bytes], Route]

REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}
NOT_FOUND = (
    b'{"error":{"message":"no such route","type":"invalid_request_error","param":null,'
    b'"code":"not_found"}}'
)


@dataclass(slots=True)
class Stats:
    """Counts of what the server has been asked since it started."""

    calls: int = 0
    in_flight: int = 0
    in_flight_max: int = 0

    def began(self) -> None:
        self.calls += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)

    def body(self) -> bytes:
        return json.dumps({"calls": self.calls, "in_flight_max": self.in_flight_max}).encode()


def http_response(status: int, body: bytes, *, keep_alive: bool) -> bytes:
    return b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status,
        REASONS[status],
        len(body),
        b"" if keep_alive else b"connection: close\r\n",
        body,
    )


class JudgeProtocol(asyncio.Protocol):
    """One connection; one request on it at a time (clients of chat completions do not pipeline).

    A POST is a judge's call: it is counted, and its answer waits for `delay_s`.
    """

    def __init__(self, routes: Routes, stats: Stats, *, delay_s: float = 0.0) -> None:
        self.routes = routes
        self.stats = stats
        self.delay_s = delay_s
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.pending: asyncio.TimerHandle | None = None
        self.url = b""
        self.chunks: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour only, not by class.
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.pending is not None:
            self.pending.cancel()
            self.pending = None
            self.stats.in_flight -= 1

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError:
            if self.transport is not None:
                self.transport.close()

    def on_message_begin(self) -> None:
        self.url = b""
        self.chunks = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        method = self.parser.get_method()
        route = self.routes.get((method, self.url.partition(b"?")[0]))
        if route is None:
            self.respond(404, NOT_FOUND)
        elif method == b"POST":
            self.judge(route)
        else:
            self.respond(*route(b""))

    def judge(self, route: Route) -> None:
        """Work the answer out now and send it when the delay is over."""
        self.stats.began()
        body = b"".join(self.chunks)
        self.chunks = []
        status, answer = route(body)
        if self.delay_s > 0:
            self.pending = self.loop.call_later(self.delay_s, self.finish, status, answer)
        else:
            self.finish(status, answer)

    def finish(self, status: int, answer: bytes) -> None:
        self.pending = None
        self.stats.in_flight -= 1
        self.respond(status, answer)

    def respond(self, status: int, body: bytes) -> None:
        if self.transport is None:
            return
        keep_alive = self.parser.should_keep_alive()
        self.transport.write(http_response(status, body, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
