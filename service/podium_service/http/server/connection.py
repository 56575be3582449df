"""One connection's limits: how many there are, how long and how large a request's head may be, how
many requests may wait, and how long a peer may keep us waiting. What comes after the head is
`body.py`'s."""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any
from weakref import WeakMethod

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from podium_service.errors import HeadersTooLarge, MalformedRequest, Overloaded, PodiumError
from podium_service.http.server.closing import Answers, raw_problem
from podium_service.http.server.defaults import MAX_CONNECTIONS

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
MAX_WAITING = 8  # requests that wait for an earlier one of the same connection
HEAD_S = 10.0  # for the head of a request, from its first byte or from the connection's start
LINGER_S = 5.0  # for a peer to take an answer that came before it had sent all
OVERFULL_S = 1.0  # the same for a peer that was not let in
STALLED_S = 60.0  # for a peer to go on reading its answer
LAST_CHANCE_S = 1.5  # for the head of a request that comes while the server stops

log = structlog.get_logger(__name__)


class _At(Enum):
    """How far the request is read that comes now."""

    HEAD = "head"  # from the connection's start, or from the first byte after another request
    BODY = "body"  # its head is whole, and the application has it
    END = "end"  # it is whole, and nothing came since


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's, with limits. Refusals of its own end the connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        max_connections: int = MAX_CONNECTIONS,
        head_s: float = HEAD_S,
        linger_s: float = LINGER_S,
        last_chance_s: float = LAST_CHANCE_S,
        stopping: Callable[[], bool] = lambda: False,
        count_problem: Callable[[str], object] = lambda code: None,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._max_connections = max_connections
        self._head_s = head_s
        self._linger_s = linger_s
        self._last_chance_s = last_chance_s
        self._stopping = stopping
        self._count_problem = count_problem
        self._is_last = False  # whatever comes next is the last request
        self._at = _At.HEAD
        self._due = 0  # requests that wait for their answers
        self._idle_bytes = 0  # that came since the head or the body last got on
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._refused = False  # nothing more is read
        self._last_words = b""  # to be said once no answer is due

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) < self._max_connections:
            super().connection_made(transport)
            self._end_in(self._head_s)
            if self._stopping():  # it was accepted before, and the server asks nobody twice
                self.shutdown()
        else:
            self.transport = transport
            self._linger_s = OVERFULL_S
            self._refuse(
                Overloaded(
                    f"{self._max_connections} connections are open, and no more are taken: "
                    "come back later, or keep fewer open",
                    retry_after_s=1.0,
                )
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
        if self._at is _At.HEAD and not self._due and not self._refused:
            self._is_last = True
            self._end_in(self._last_chance_s)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._at is _At.END:
            self._at = _At.HEAD
        self._idle_bytes += len(data)
        try:
            self._parse(data)
            self._require_short_head(self._idle_bytes)
        except PodiumError as error:
            self._refuse(error)
        else:
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._at, self._idle_bytes = _At.HEAD, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._at is not _At.HEAD:
            return  # a trailer: nobody reads it
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise HeadersTooLarge(f"the request has many headers: at most {MAX_HEADERS}")

    def on_headers_complete(self) -> None:
        self._require_short_head(len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers))
        if self.parser.get_method() == b"CONNECT":
            raise MalformedRequest("CONNECT is for proxies, and this is none")
        if self.parser.should_upgrade():
            return  # it comes again, without
        if self._due > MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} requests of this connection wait for an earlier one: await "
                "answers, or open more connections",
                retry_after_s=1.0,
            )
        super().on_headers_complete()
        self.cycle.transport = Answers(self.transport, WeakMethod(self._hang_up))
        if self._is_last:
            self.cycle.keep_alive = False
        self._end_in(None)
        self._at, self._idle_bytes = _At.BODY, 0
        self._due += 1

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._end_in(None)  # it was answered before, and we lingered
        self._at, self._idle_bytes = _At.END, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._due -= 1
        if self._due or self.transport.is_closing():
            return
        if self._refused:
            self._part()
        elif self._at is _At.BODY:
            self._end_in(self._linger_s)
        elif self._at is _At.HEAD:
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
            super().resume_writing()

    def _parse(self, data: bytes) -> None:
        """Raises PodiumError."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError as error:
                if isinstance(error.__context__, PodiumError):  # one of the callbacks raised it
                    raise error.__context__ from None
                raise MalformedRequest("this is not HTTP/1.1 as it is written") from None

    def _head_without_upgrade(self) -> bytes:
        """The head just read, for a server that speaks nothing else than HTTP/1.1. The parser takes
        it that what follows a wish to upgrade is in another protocol, bodies included."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _require_short_head(self, num_bytes: int) -> None:
        if num_bytes > MAX_HEAD_BYTES:
            raise HeadersTooLarge(
                "the request's head, trailers or chunk extensions go on: at most "
                f"{MAX_HEAD_BYTES} bytes"
            )

    def _wait(self) -> None:
        """Give the next request its time, if it is the peer's turn."""
        if self._due:
            return
        if self._at is _At.HEAD and self._timer is None:
            self._end_in(self._head_s)
        elif self._at is _At.END:  # of a request that was answered before
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, error: PodiumError) -> None:
        """Answer in the application's place, after earlier requests, and end the connection."""
        log.info("refused", code=error.code)
        self._count_problem(error.code)
        self._refused = True
        if self._at is not _At.BODY:
            self._last_words = raw_problem(error)
        elif not self.cycle.response_started:  # or it would get two answers
            self._take_back()
            self._last_words = raw_problem(error)
        if not self._due:
            self._part()

    def _take_back(self) -> None:
        """Have the application leave the request alone whose body cannot be read."""
        self._due -= 1
        if self.pipeline:
            self.pipeline.popleft()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_reading()

    def _part(self) -> None:
        """End the connection once the peer has read what we said; what it sends is dropped."""
        self.transport.write(self._last_words)
        self.transport.write_eof()
        is_all_sent = not self.transport.get_write_buffer_size()
        self._end_in(self._linger_s if is_all_sent else STALLED_S)

    def _hang_up(self) -> None:
        """End the connection, as the application or its caller wished."""
        if self._at is _At.BODY and self.cycle.response_complete:
            self._refused = True  # a close would reset who still sends before it can read
        else:
            self.transport.close()

    def _end_in(self, seconds: float | None) -> None:
        """End the connection then, unless told otherwise before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._end) if seconds is not None else None

    def _end(self) -> None:
        self._timer = None
        self.transport.abort()
