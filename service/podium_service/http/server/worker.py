"""One process of `podium serve --workers N`: serves on the socket that it inherits.

`supervisor` starts it with two descriptors, LISTENER and PARENT. Over the second it is told how to
serve and says that it does; if that breaks, the parent has died, and it stops.
"""

import asyncio
import socket
import sys

import structlog

from podium_service.errors import PodiumError
from podium_service.http.server.server import ServeOptions, event_loop_factory, serve_on
from podium_service.telemetry import logs

log = structlog.get_logger(__name__)


def main() -> None:
    """Serve until a signal comes or the parent is gone. An error we know is one line of the log and
    exit status 1."""
    listener, parent = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    with listener, parent, parent.makefile("rb") as told:
        options = ServeOptions.from_json(told.readline())
        logs.configure(options.log_level)
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            try:
                runner.run(_serve(listener, parent, options))
            except PodiumError as error:
                log.error("worker_failed", detail=str(error))
                sys.exit(1)


async def _serve(listener: socket.socket, parent: socket.socket, options: ServeOptions) -> None:
    parent.setblocking(False)
    gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(parent, 1))
    try:
        await serve_on(listener, options, started=lambda: parent.send(b"s"), until=gone)
    finally:
        gone.cancel()


if __name__ == "__main__":
    main()
