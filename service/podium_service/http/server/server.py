"""Running the service: everything opened in order, drained and closed in the reverse."""

import asyncio
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import structlog
import uvicorn

from podium_service.errors import ConfigError
from podium_service.http.api_key_store import list_keys
from podium_service.http.app import create_app
from podium_service.http.server.acceptor import BACKLOG, Acceptor
from podium_service.http.server.connection import GuardedProtocol
from podium_service.http.server.gc_policy import collect_periodically, freeze_gc
from podium_service.http.service import Service, open_service
from podium_service.telemetry.collector import open_tracing

# For how long the event loop may keep the interpreter from a thread of the store, which wants it
# after each statement, and for whose transaction others wait; by default it is 5 ms.
_SWITCH_S = 0.0005

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve: what `podium serve` was told."""

    host: str
    port: int
    config: Path | None
    store_url: str
    api_key: str | None
    drain_s: float
    grace_s: int
    max_connections: int
    log_level: str

    def to_json(self) -> bytes:
        return orjson.dumps(self, default=str)

    @classmethod
    def from_json(cls, content: bytes) -> "ServeOptions":
        told = orjson.loads(content)
        return cls(**{**told, "config": Path(told["config"]) if told["config"] else None})


async def check(options: ServeOptions) -> None:
    """See that it can serve, before any process starts that shall.

    Raises:
        ConfigError: If the judges file or the store is not usable, or no key guards an open host.
    """
    async with open_service(options.config, options.store_url) as service:
        guarded = bool(options.api_key) or bool(await list_keys(service.store))
        require_key_beyond_loopback(options.host, guarded=guarded)


def require_key_beyond_loopback(host: str, *, guarded: bool) -> None:
    """Refuse to listen where others can reach us without asking them for a key.

    Raises:
        ConfigError: If `host` is not loopback and there is no key at all.
    """
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not guarded:
        raise ConfigError(
            f"host {host} can be reached by others, and no key guards it: set PODIUM_API_KEY "
            "(clients read it, too), make one with podium keys create, or listen on 127.0.0.1"
        )


class DrainingServer(uvicorn.Server):
    """On SIGTERM readiness goes off first, and the server listens no more `drain_s` later; requests
    in flight are finished. The next signal, or SIGINT as the first, ends that wait; one that comes
    when it is over does not wait for requests in flight either."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        options: ServeOptions,
        started: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._service = service
        self._drain_s = options.drain_s
        self._max_connections = options.max_connections
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Unlike uvicorn's, accept connections one at a time."""
        assert sockets
        await self.lifespan.startup()
        self.servers = [Acceptor(each, self._connection) for each in sockets]  # type: ignore[misc]
        self.started = True
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Unlike uvicorn's, see who has just connected before waiting for all to be answered."""
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        for server in self.servers:
            await server.wait_closed()
        self.servers = []
        await super().shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Unlike uvicorn's, forget the signal: raised again after the stop, it would turn a clean
        end into exit status -15."""
        if sig == signal.SIGTERM and not self._service.draining:
            self._service.draining = True
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, self._drain_s, self.stop)
        else:
            self.force_exit = self.should_exit
            self.should_exit = True

    def stop(self) -> None:
        """Listen no more; requests in flight are finished."""
        self._service.draining = True
        self.should_exit = True

    def _connection(self) -> GuardedProtocol:
        return GuardedProtocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            self._max_connections,
            stopping=lambda: self.should_exit,
            count_problem=self._service.metrics.count_problem,
        )


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, as uvicorn itself would choose."""
    return uvicorn.Config("", log_config=None).get_loop_factory()


def listen(options: ServeOptions) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: If the address is taken, or none of ours.
    """
    host, port = options.host, options.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        why = str(error).rstrip(".")
        raise ConfigError(
            f"cannot listen on {host}:{port}: {why}: choose another --port"
        ) from error
    # Connections inherit it. Without it an answer in two parts waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def announce(options: ServeOptions, listener: socket.socket, workers: int = 1) -> None:
    host, bound = options.host, listener.getsockname()[1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    log.info("listening", url=url, workers=workers)


async def serve(options: ServeOptions) -> None:
    """Serve until a signal comes.

    Raises:
        ConfigError: If the judges file, the store or the address is not usable.
    """
    await check(options)
    with listen(options) as listener:
        await serve_on(listener, options, started=lambda: announce(options, listener))


async def serve_on(
    listener: socket.socket,
    options: ServeOptions,
    *,
    started: Callable[[], object],
    until: asyncio.Future[Any] | None = None,
) -> None:
    """Serve on a socket until a signal comes.

    Args:
        started: called once requests are taken.
        until: when it is done, listen no more.
    """
    allow_connections(options.max_connections)
    async with (
        open_tracing() as tracing,
        open_service(options.config, options.store_url, tracing) as service,
    ):
        settings = uvicorn.Config(
            create_app(service, api_keys=[options.api_key] if options.api_key else []),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=options.grace_s,
        )
        server = DrainingServer(settings, service, options, started)
        watch = service.ranker.judges.watch()
        beside = [asyncio.create_task(each) for each in (watch, collect_periodically())]
        if until is not None:
            until.add_done_callback(lambda _: server.stop())
        freeze_gc()
        sys.setswitchinterval(_SWITCH_S)
        try:
            await server.serve(sockets=[listener])
        finally:
            for each in beside:
                each.cancel()


def allow_connections(number: int) -> None:
    """Let the process open as many files as so many connections need, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * number + 1024  # as many again for what asks judges
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
