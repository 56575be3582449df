"""Serve the app in this process: check the options, listen, and stop in steps when a signal comes.

serving --SIGTERM--> draining --drain_s, or a signal--> closing --grace_s, or a signal--> ended
   |                                                       ^
   +------------------------SIGINT-------------------------+

draining  /readyz answers 503, and new requests are still taken
closing   no new connections, and requests in progress are finished
ended     requests still in progress when `grace_s` is over are answered 503, draining
"""

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

import structlog
import uvicorn
from pydantic import TypeAdapter

from podium_service.errors import ConfigError
from podium_service.http.access.api_key_store import list_keys
from podium_service.http.app import create_app
from podium_service.http.server.acceptor import BACKLOG, Acceptor
from podium_service.http.server.connection import GuardedProtocol
from podium_service.http.server.gc_policy import collect_periodically, freeze_gc
from podium_service.http.server.retention import prune_regularly
from podium_service.http.service import Service, open_service
from podium_service.telemetry.collector import open_tracing

# How long the event loop may keep the interpreter when a thread of the store wants it, as it does
# after each SQL statement. With Python's default, 5 ms, transactions keep their locks for too long.
_SWITCH_INTERVAL_S = 0.0005

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of `podium serve`, except the number of workers."""

    host: str
    port: int
    config: Path | None
    store_url: str
    api_key: str | None
    drain_s: float
    grace_s: int
    max_connections: int
    log_level: str
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    keep_texts: bool | None = None
    retention_days: float | None = None


OPTIONS_JSON = TypeAdapter(ServeOptions)


async def check_options(options: ServeOptions) -> None:
    """Open the service once to find faults before any worker starts.

    Raises:
        ConfigError: If the judges file or the store is not usable, or the host is not loopback and
            there is no API key.
    """
    async with open_service(options.config, options.store_url) as service:
        has_key = bool(options.api_key) or bool(await list_keys(service.store))
        require_key_beyond_loopback(options.host, has_key=has_key)


def require_key_beyond_loopback(host: str, *, has_key: bool) -> None:
    """Raise ConfigError if other machines can reach the service and there is no API key."""
    if not is_loopback(host) and not has_key:
        raise ConfigError(
            f"host {host} can be reached by others, and no key guards it: set PODIUM_API_KEY "
            "(clients read it, too), make one with podium keys create, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class DrainingServer(uvicorn.Server):
    """uvicorn's server with the states that the module's docstring draws."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        options: ServeOptions,
        on_started: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._service = service
        self._options = options
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections one at a time, where uvicorn accepts all that wait at once."""
        assert sockets
        await self.lifespan.startup()
        # They stand in for asyncio's servers, because `shutdown` below is all that uses them.
        self.servers = [Acceptor(each, self._connection) for each in sockets]  # type: ignore[misc]
        self.started = True
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, and finish the requests in progress.

        uvicorn would not see the connections that the kernel has taken and nobody has accepted yet.
        """
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        for server in self.servers:
            await server.wait_closed()
        self.servers = []
        await super().shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Enter the next state.

        uvicorn would raise the signal again at the end, so that the exit status were not 0.
        """
        if sig == signal.SIGTERM and not self._service.draining:
            self._service.draining = True
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, self._options.drain_s, self.stop)
        else:
            self.force_exit = self.should_exit
            self.should_exit = True

    def stop(self) -> None:
        """Close the listeners soon; requests in progress are finished."""
        self._service.draining = True
        self.should_exit = True

    def _connection(self) -> GuardedProtocol:
        return GuardedProtocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            self._options.max_connections,
            stopping=lambda: self.should_exit,
            count_problem=self._service.metrics.count_problem,
        )


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvicorn's choice of an event loop: uvloop if it is installed."""
    return uvicorn.Config("", log_config=None).get_loop_factory()


def listen(options: ServeOptions) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: If the address is in use, or does not belong to this machine.
    """
    address = options.host, options.port
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        why = str(error).rstrip(".")
        where = f"{options.host}:{options.port}"
        raise ConfigError(f"cannot listen on {where}: {why}: choose another --port") from error
    # Connections inherit this. Without it, the second part of a response waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def announce(options: ServeOptions, listener: socket.socket, num_workers: int = 1) -> None:
    """Log the URL of the service."""
    host, port = options.host, listener.getsockname()[1]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    pages = f"{url}/{options.root_path.strip('/')}".rstrip("/") + "/ui"
    log.info("listening", url=url, pages=pages, workers=num_workers)


async def serve(options: ServeOptions) -> None:
    """Serve until a signal comes; raise ConfigError if an option is not usable."""
    await check_options(options)
    with listen(options) as listener:
        await serve_on(listener, options, on_started=lambda: announce(options, listener))


async def serve_on(
    listener: socket.socket,
    options: ServeOptions,
    *,
    on_started: Callable[[], object],
    until: asyncio.Future[Any] | None = None,
    gathers_on: socket.socket | None = None,
    gatherer: str | None = None,
) -> None:
    """Serve on a listening socket until a signal comes.

    Args:
        on_started: called once requests are taken.
        until: stops the server when it is done.
        gathers_on: a socket on which the other workers pass on what this one gathers.
        gatherer: the path of the socket of the worker that gathers; None if it is this process.
    """
    raise_file_limit(options.max_connections)
    async with (
        open_tracing() as tracing,
        open_service(
            options.config,
            options.store_url,
            tracing,
            gatherer=gatherer,
            keep_texts=options.keep_texts,
        ) as service,
    ):
        settings = uvicorn.Config(
            create_app(
                service,
                api_keys=[options.api_key] if options.api_key else [],
                allowed_hosts=options.allowed_hosts,
                bound_host=options.host,
                root_path=options.root_path,
            ),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=options.grace_s,
        )
        server = DrainingServer(settings, service, options, on_started)
        watch = service.ranker.judges.watch()
        chores = [watch, collect_periodically()]
        if options.retention_days is not None:
            chores.append(prune_regularly(service.store, options.retention_days))
        background = [asyncio.create_task(each) for each in chores]
        if until is not None:
            until.add_done_callback(lambda _: server.stop())
        freeze_gc()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        try:
            await server.serve(sockets=[listener, *([gathers_on] if gathers_on else [])])
        finally:
            for task in background:
                task.cancel()


def raise_file_limit(num_connections: int) -> None:
    """Raise the limit of open files to what the connections need, or as far as is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * num_connections + 1024  # twice, because calls to judges are connections, too
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
