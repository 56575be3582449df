"""Serve in one process of `podium serve --workers N`, on the socket inherited from the supervisor.

`supervisor` starts this module with two file descriptors, LISTENER and SUPERVISOR, and with
GATHERER: the path of the socket of the one worker that gathers groups, or in that worker the file
descriptor of the socket. SUPERVISOR is a socket with this protocol:

    supervisor -> worker   one line: the ServeOptions as JSON
    worker -> supervisor   one byte, once requests are served
    end of file            the supervisor has died: stop
"""

import asyncio
import socket
import sys
from contextlib import nullcontext

import structlog

from podium_service.errors import PodiumError
from podium_service.http.server import server
from podium_service.telemetry import logs

log = structlog.get_logger(__name__)


def main() -> None:
    """Serve until a signal comes or the supervisor dies; exit with status 1 on a known error."""
    listener, supervisor = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    gatherer = sys.argv[3]
    gathers_on = socket.socket(fileno=int(gatherer)) if gatherer.isdecimal() else None
    with listener, supervisor, supervisor.makefile("rb") as lines, gathers_on or nullcontext():
        options = server.OPTIONS_JSON.validate_json(lines.readline())
        logs.configure(options.log_level)
        with asyncio.Runner(loop_factory=server.event_loop_factory()) as runner:
            try:
                runner.run(_serve(listener, supervisor, options, gathers_on or gatherer))
            except PodiumError as error:
                log.error("worker_failed", detail=str(error))
                sys.exit(1)


async def _serve(
    listener: socket.socket,
    supervisor: socket.socket,
    options: server.ServeOptions,
    gatherer: socket.socket | str,
) -> None:
    supervisor.setblocking(False)
    end_of_file = asyncio.create_task(asyncio.get_running_loop().sock_recv(supervisor, 1))
    try:
        await server.serve_on(
            listener,
            options,
            on_started=lambda: supervisor.send(b"s"),
            until=end_of_file,
            gathers_on=None if isinstance(gatherer, str) else gatherer,
            gatherer=gatherer if isinstance(gatherer, str) else None,
        )
    finally:
        end_of_file.cancel()


if __name__ == "__main__":
    main()
