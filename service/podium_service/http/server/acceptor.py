"""A listening socket -> connections, one at a time: processes that listen on one socket share what
comes, where an event loop's own server takes all that wait at once."""

import asyncio
import socket
from collections.abc import Callable

import structlog

BACKLOG = 2048  # connections that the kernel keeps for us
_PAUSE_S = 0.5

log = structlog.get_logger(__name__)


class Acceptor:
    """Accepts until it is closed; the listener stays its owner's."""

    def __init__(self, listener: socket.socket, connect: Callable[[], asyncio.Protocol]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Accept who has connected by now, and nobody after: once the last process lets go of the
        listener, the kernel resets who is still in its backlog. Other processes may still serve
        it, but none can know whether it is the last. A full backlog is the most it can be: who
        goes on connecting holds up no stop."""
        self._loop.remove_reader(self._listener.fileno())
        if self._paused is not None:
            self._paused.cancel()
        try:
            for _ in range(BACKLOG):
                self._accept_one()
        except BlockingIOError:
            pass  # nobody is left
        except OSError as error:
            log.error("connections_not_accepted", detail=str(error))

    async def wait_closed(self) -> None:
        """Return once the connections that were accepted are handed over."""
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            self._accept_one()
        except BlockingIOError:
            pass  # another process was faster
        except OSError as error:
            log.error("connections_not_accepted", detail=str(error))
            self._loop.remove_reader(self._listener.fileno())
            self._paused = self._loop.call_later(_PAUSE_S, self._resume)

    def _accept_one(self) -> None:
        """Raises OSError; BlockingIOError if nobody waits."""
        try:
            connection, _ = self._listener.accept()
        except (InterruptedError, ConnectionAbortedError):
            return  # the peer has gone
        connection.setblocking(False)
        handing = self._loop.create_task(
            self._loop.connect_accepted_socket(self._connect, connection)
        )
        self._connecting.add(handing)
        handing.add_done_callback(self._connecting.discard)
