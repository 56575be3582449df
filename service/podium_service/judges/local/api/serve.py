"""Serve a model until a signal comes."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from podium_service.errors import ConfigError
from podium_service.judges.local.api.app import JudgeServer

_GRACE_S = 5  # in which open requests may finish; then they are dropped


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, before minutes are spent on a model.

    Raises:
        ConfigError: If the address is in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = str(error).rstrip(".")
        raise ConfigError(
            f"cannot listen on {host}:{port}: {why}: choose another --port"
        ) from error


async def serve_on(
    listener: socket.socket,
    judge: JudgeServer,
    on_started: Callable[[], object],
    until: asyncio.Future[None] | None = None,
) -> None:
    """Serve on a listening socket until a signal comes, then free the model.

    Args:
        on_started: called once requests are taken.
        until: stops the server when it is done.
    """
    settings = uvicorn.Config(
        judge.app(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(settings, on_started)
    if until is not None:
        until.add_done_callback(lambda _: server.stop())
    try:
        await server.serve(sockets=[listener])
    finally:
        await judge.aclose()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, before the model is freed.
        self.force_exit = self.should_exit
        self.should_exit = True

    def stop(self) -> None:
        self.should_exit = True
