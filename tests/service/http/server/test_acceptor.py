"""Accepting connections, up to the last one in the backlog."""

import socket
from contextlib import ExitStack
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.responses import PlainTextResponse
from uvicorn.config import Config

from podium_service.http.server.defaults import GRACE_S
from podium_service.http.server.server import DrainingServer, ServeOptions, listen
from podium_service.http.service import Service
from podium_service.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

ASKED = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def test_connections_in_the_backlog_are_answered_at_the_stop() -> None:
    options = ServeOptions("127.0.0.1", 0, None, "", None, 0.0, GRACE_S, 6, "info")
    clients = list[socket.socket]()
    with ExitStack() as stack, listen(options) as listener:

        def connect_and_stop() -> None:
            # The kernel takes these, because the event loop does not run meanwhile.
            for _ in range(8):
                client = socket.create_connection(listener.getsockname(), timeout=10)
                clients.append(stack.enter_context(client))
                client.sendall(ASKED)
            server.stop()

        service = cast(Service, SimpleNamespace(draining=False, metrics=Metrics()))
        config = Config(PlainTextResponse("ok"), lifespan="off", log_config=None)
        server = DrainingServer(config, service, options, connect_and_stop)
        await server.serve(sockets=[listener])
        answers = [client.recv(65_536) for client in clients]
    assert sorted(answer.split()[1] for answer in answers) == 6 * [b"200"] + 2 * [b"429"]
    assert all(b"connection: close" in answer for answer in answers)
