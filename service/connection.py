"""One connection's limits: how many there are, how long and how large a request's head may be, and
how long a peer may keep us waiting. What comes after the head is `body.py`'s."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from service.errors import HeadersTooLarge, MalformedRequest, Overloaded, PodiumError

MAX_HEAD_BYTES = 65_536
HEAD_S = 10.0  # for the head of a request, from its first byte or from the connection's start
LINGER_S = 5.0  # for a peer to take an answer that came before it had sent all
STALLED_S = 60.0  # for a peer to go on reading its answer
LAST_CHANCE_S = 1.5  # for the head of a request that comes while the server stops
MAX_CONNECTIONS = 4096

log = structlog.get_logger(__name__)


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's, with limits. Refusals of its own end the connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        max_connections: int = MAX_CONNECTIONS,
        head_s: float = HEAD_S,
        last_chance_s: float = LAST_CHANCE_S,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._max_connections = max_connections
        self._head_s = head_s
        self._last_chance_s = last_chance_s
        self._stopping = stopping
        self._is_last = False  # whatever comes next is the last request
        self._head_bytes = 0
        self._in_head = True
        self._head_began = False  # in the data being parsed
        self._head_is_open = False  # it began, and goes on
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) < self._max_connections:
            super().connection_made(transport)
            self._end_in(self._head_s)
            if self._stopping():  # it was accepted before, and the server asks nobody twice
                self.shutdown()
        else:
            self.transport = transport
            self._refuse(
                Overloaded(
                    f"{self._max_connections} connections are open, and no more are taken: "
                    "come back later, or keep fewer open",
                    retry_after_s=1.0,
                ),
                linger_s=1.0,
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_in(None)
        self.resume_writing()
        if self.flow is None:  # refused at once: uvicorn never knew it
            return
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """The server stops. Who has just connected, or has begun to ask, is still answered."""
        if self._is_idle() and not self._refused and (self.cycle is None or self._head_is_open):
            self._is_last = True
            self._end_in(self._last_chance_s)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_in_head = self._in_head
        self._head_began = False
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            if self._timer is None and self._is_idle():
                self._end_in(self._head_s)
            if was_in_head and not self._head_began:
                self._head_bytes += len(data)
                self._require_short_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_began = self._head_is_open = self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = self._head_is_open = False
        self._end_in(None)
        self._head_bytes = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        self._require_short_head()
        if not self._refused:
            super().on_headers_complete()
            if self._is_last:
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()
            self._in_head, self._head_bytes = True, 0  # of the next request

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head:
            self._end_in(LINGER_S)  # it was answered before it was read
        elif self._head_is_open and self._timer is None:
            self._end_in(self._head_s)  # the next one has begun meanwhile

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
            super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(MalformedRequest("this is not HTTP/1.1 as it is written"))

    def _is_idle(self) -> bool:
        """Whether no request waits for its answer."""
        return self.cycle is None or self.cycle.response_complete

    def _require_short_head(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(
                HeadersTooLarge(f"the request's head goes on: at most {MAX_HEAD_BYTES} bytes")
            )

    def _refuse(self, error: PodiumError, linger_s: float = LINGER_S) -> None:
        """Answer in the application's place, and end the connection."""
        self._refused = True
        log.info("refused", code=error.code)
        if self._is_idle():
            self.transport.write(raw_problem(error))
            self.transport.write_eof()
            self._end_in(linger_s)
        else:
            self.transport.close()  # an earlier request of the connection waits for its answer

    def _end_in(self, seconds: float | None) -> None:
        """End the connection then, unless told otherwise before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._end) if seconds is not None else None

    def _end(self) -> None:
        self._timer = None
        self.transport.abort()


def raw_problem(error: PodiumError) -> bytes:
    """An error as a whole answer, where no application gives one."""
    content = orjson.dumps(error.problem())
    headers = [
        b"content-type: application/problem+json",
        b"content-length: %d" % len(content),
        b"connection: close",
    ]
    if error.retry_after is not None:
        headers.append(b"retry-after: %d" % error.retry_after)
    return STATUS_LINE[error.status] + b"\r\n".join(headers) + b"\r\n\r\n" + content
