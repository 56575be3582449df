"""Serve in one process of `podium serve --workers N`, on the socket inherited from the supervisor.

`supervisor` starts this module with two file descriptors, LISTENER and SUPERVISOR. The second is a
socket with this protocol:

    supervisor -> worker   one line: the ServeOptions as JSON
    worker -> supervisor   one byte, once requests are served
    end of file            the supervisor has died: stop
"""

import asyncio
import socket
import sys

import structlog

from podium_service.errors import PodiumError
from podium_service.http.server import server
from podium_service.telemetry import logs

log = structlog.get_logger(__name__)


def main() -> None:
    """Serve until a signal comes or the supervisor dies; exit with status 1 on a known error."""
    listener, supervisor = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    with listener, supervisor, supervisor.makefile("rb") as lines:
        options = server.OPTIONS_JSON.validate_json(lines.readline())
        logs.configure(options.log_level)
        with asyncio.Runner(loop_factory=server.event_loop_factory()) as runner:
            try:
                runner.run(_serve(listener, supervisor, options))
            except PodiumError as error:
                log.error("worker_failed", detail=str(error))
                sys.exit(1)


async def _serve(
    listener: socket.socket, supervisor: socket.socket, options: server.ServeOptions
) -> None:
    supervisor.setblocking(False)
    end_of_file = asyncio.create_task(asyncio.get_running_loop().sock_recv(supervisor, 1))
    try:
        await server.serve_on(
            listener,
            options,
            on_started=lambda: supervisor.send(b"s"),
            until=end_of_file,
            is_alone=False,
        )
    finally:
        end_of_file.cancel()


if __name__ == "__main__":
    main()
