"""One HTTP/1.1 connection: uvicorn's protocol with limits on sizes, numbers and waiting times.

The limits hold up to the end of a request's head; `http/requests/body.py` limits bodies.

    connection made
          |
          v    head complete        body complete
        HEAD ---------------> BODY ---------------> IDLE
          ^                                           |
          +------- first byte of the next request ----+

A request is unanswered from the end of its head to the end of its response. A client may send
further requests meanwhile. These timers abort the connection, and they run only while no request is
unanswered:

    HEAD  `head_s` from the start of the connection or the first byte of the head
    BODY  `linger_s` after a response that came before the whole body
    IDLE  uvicorn's keep-alive timeout

A fault in any state sends an error response and ends the connection:

    fault -> read nothing more -> complete the responses of earlier requests -> send the error
          -> close the write side -> wait `linger_s`, so that the client can read -> abort
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any
from weakref import WeakMethod

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from podium_service.errors import HeadersTooLarge, MalformedRequest, Overloaded, PodiumError
from podium_service.http.server.closing import ResponseTransport, raw_problem
from podium_service.http.server.defaults import MAX_CONNECTIONS
from podium_service.http.server.parsing import ParsingProtocol, require_short_head

MAX_HEADERS = 200
MAX_WAITING = 8  # requests of one connection that wait for an earlier one
LINGER_OVER_LIMIT_S = 1.0  # shorter for a connection over the limit, which still takes memory
STALLED_S = 60.0  # for a client that does not read its response

log = structlog.get_logger(__name__)


class _State(Enum):
    """The progress of reading the current request; the module's docstring draws the states."""

    HEAD = "head"
    BODY = "body"
    IDLE = "idle"


class GuardedProtocol(ParsingProtocol):
    """uvicorn's protocol with limits.

    Args:
        stopping: whether the server stops, so that this connection may send one last request.
        count_problem: called with the code of each error that this class sends.
    """

    head_s = 10.0
    head_while_stopping_s = 1.5  # for the head of a last request when the server stops
    linger_s = 5.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        max_connections: int = MAX_CONNECTIONS,
        stopping: Callable[[], bool] = lambda: False,
        count_problem: Callable[[str], object] = lambda code: None,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._max_connections = max_connections
        self._stopping = stopping
        self._count_problem = count_problem
        self._state = _State.HEAD
        self._num_unanswered = 0
        self._num_bytes = 0  # read since a request began or a part of its body arrived
        self._is_last_request = False
        self._discards_input = False
        self._error_response = b""  # sent once no request is unanswered
        self._abort_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    # asyncio's type is BaseTransport; uvicorn takes this one, too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) < self._max_connections:
            super().connection_made(transport)
            self._abort_in(self.head_s)
            if self._stopping():  # the server told its connections to stop before this one was made
                self.shutdown()
        else:
            self.transport = transport
            self.linger_s = LINGER_OVER_LIMIT_S
            self._refuse(
                Overloaded(
                    f"{self._max_connections} connections are open, and no more are taken: "
                    "come back later, or keep fewer open",
                    retry_after_s=1.0,
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._abort_in(None)
        self.resume_writing()
        if self.flow is None:  # over the limit, so uvicorn's connection_made was never called
            return
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """Close because the server stops, after the request that has begun or is just coming."""
        if self._state is _State.HEAD and not self._num_unanswered and not self._discards_input:
            self._is_last_request = True
            self._abort_in(self.head_while_stopping_s)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._discards_input:
            return
        self._unset_keepalive_if_required()
        if self._state is _State.IDLE:
            self._state = _State.HEAD
        self._num_bytes += len(data)
        try:
            self.parse(data)
            require_short_head(self._num_bytes)
        except PodiumError as error:
            self._refuse(error)
        else:
            self._limit_wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._state, self._num_bytes = _State.HEAD, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._state is not _State.HEAD:
            return  # a trailer of a chunked body, which nothing uses
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise HeadersTooLarge(f"the request has many headers: at most {MAX_HEADERS}")

    def on_headers_complete(self) -> None:
        require_short_head(len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers))
        if self.parser.get_method() == b"CONNECT":
            raise MalformedRequest("CONNECT is for proxies, and this is none")
        if self.parser.should_upgrade():
            return  # `parse` feeds this head again without its wish to upgrade
        if self._num_unanswered > MAX_WAITING:
            raise Overloaded(
                f"{MAX_WAITING} requests of this connection wait for an earlier one: await "
                "answers, or open more connections",
                retry_after_s=1.0,
            )
        super().on_headers_complete()
        self.cycle.transport = ResponseTransport(self.transport, WeakMethod(self._close))
        if self._is_last_request:
            self.cycle.keep_alive = False
        self._abort_in(None)
        self._state, self._num_bytes = _State.BODY, 0
        self._num_unanswered += 1

    def on_body(self, body: bytes) -> None:
        self._num_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._abort_in(None)  # the timer runs if the response came before the whole body
        self._state, self._num_bytes = _State.IDLE, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._num_unanswered -= 1
        if self._num_unanswered or self.transport.is_closing():
            return
        if self._discards_input:
            self._finish()
        elif self._state is _State.BODY:
            self._abort_in(self.linger_s)
        elif self._state is _State.HEAD:
            self._limit_wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
            super().resume_writing()

    def _limit_wait(self) -> None:
        """Start the timer for the next request, unless the client waits for a response."""
        if self._num_unanswered:
            return
        if self._state is _State.HEAD and self._abort_timer is None:
            self._abort_in(self.head_s)
        elif self._state is _State.IDLE:  # uvicorn starts it only after a response
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _refuse(self, error: PodiumError) -> None:
        """Send an error after the responses to earlier requests, and end the connection."""
        log.info("refused", code=error.code)
        self._count_problem(error.code)
        self._discards_input = True
        if self._state is not _State.BODY:
            self._error_response = raw_problem(error)
        elif not self.cycle.response_started:  # otherwise the request would get two responses
            self._abandon_request()
            self._error_response = raw_problem(error)
        if not self._num_unanswered:
            self._finish()

    def _abandon_request(self) -> None:
        """Tell the application that the client has gone, because the body cannot be read."""
        self._num_unanswered -= 1
        if self.pipeline:
            self.pipeline.popleft()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_reading()

    def _finish(self) -> None:
        """Send the error, if any, and abort once the client has had time to read everything."""
        self.transport.write(self._error_response)
        self.transport.write_eof()
        is_all_sent = not self.transport.get_write_buffer_size()
        self._abort_in(self.linger_s if is_all_sent else STALLED_S)

    def _close(self) -> None:
        """Close after a response, as the application or the client wished.

        If the client still sends its body, wait: a close would reset the connection, and the client
        could not read the response.
        """
        if self._state is _State.BODY and self.cycle.response_complete:
            self._discards_input = True
        else:
            self.transport.close()

    def _abort_in(self, seconds: float | None) -> None:
        """Restart the timer that aborts the connection; stop it if `seconds` is None."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._abort_timer = None
        if seconds is not None:
            self._abort_timer = self.loop.call_later(seconds, self.transport.abort)
