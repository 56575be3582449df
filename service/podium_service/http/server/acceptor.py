"""Accept connections from a listening socket one at a time.

Processes that listen on the same socket share its connections evenly that way. An event loop's own
server accepts all that wait at once, so that one process gets them all.
"""

import asyncio
import socket
from collections.abc import Callable

import structlog

BACKLOG = 2048  # connections that the kernel keeps until they are accepted
_PAUSE_S = 0.5  # after an error such as too many open files

log = structlog.get_logger(__name__)


class Acceptor:
    """Accepts connections until it is closed; it does not close the listener.

    Args:
        connect: makes the protocol of a new connection.
    """

    def __init__(self, listener: socket.socket, connect: Callable[[], asyncio.Protocol]) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[object]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Accept the connections that wait now, and none after that.

        The kernel resets waiting connections when the last process closes the listener, and no
        process knows whether it is the last. At most `BACKLOG` are accepted, so that clients that
        go on connecting do not delay the stop.
        """
        self._loop.remove_reader(self._listener.fileno())
        if self._paused is not None:
            self._paused.cancel()
        try:
            for _ in range(BACKLOG):
                self._accept_one()
        except BlockingIOError:
            pass  # no more connections wait
        except OSError as error:
            log.error("connections_not_accepted", detail=str(error))

    async def wait_closed(self) -> None:
        """Wait until every accepted connection has its protocol."""
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            self._accept_one()
        except BlockingIOError:
            pass  # another process accepted the connection first
        except OSError as error:
            log.error("connections_not_accepted", detail=str(error))
            self._loop.remove_reader(self._listener.fileno())
            self._paused = self._loop.call_later(_PAUSE_S, self._resume)

    def _accept_one(self) -> None:
        """Accept one connection; BlockingIOError says that none waits."""
        try:
            connection, _ = self._listener.accept()
        except (InterruptedError, ConnectionAbortedError):
            return  # the client has disconnected
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._connect, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
