"""`podium serve`: the service, in this process or in several."""

import asyncio
from typing import Annotated

import typer

from podium_service.cli.options import DEFAULT_STORE, APIKeyText, ConfigPath, LogLevel, StoreURL
from podium_service.http.server.connection import MAX_CONNECTIONS
from podium_service.http.server.server import GRACE_S, Serving, event_loop_factory, serve
from podium_service.http.server.supervisor import serve_by_workers
from podium_service.telemetry import logs


def serve_command(
    host: Annotated[
        str, typer.Option(envvar="PODIUM_HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PODIUM_PORT", help="0 takes a free one.")] = 8000,
    config: ConfigPath = None,
    store: StoreURL = DEFAULT_STORE,
    api_key: APIKeyText = None,
    drain_s: Annotated[
        float,
        typer.Option(
            envvar="PODIUM_DRAIN_S",
            min=0,
            help="Seconds after SIGTERM in which new requests are still taken and /readyz is 503.",
        ),
    ] = 2.0,
    grace_s: Annotated[
        int,
        typer.Option(
            envvar="PODIUM_GRACE_S",
            min=0,
            help="Seconds that requests in flight have after that; the rest is told 503, draining.",
        ),
    ] = GRACE_S,
    workers: Annotated[
        int, typer.Option(envvar="PODIUM_WORKERS", min=1, help="Processes that share the port.")
    ] = 1,
    max_connections: Annotated[
        int, typer.Option(envvar="PODIUM_MAX_CONNECTIONS", min=1, help="Open, to each process.")
    ] = MAX_CONNECTIONS,
    log_level: LogLevel = "info",
) -> None:
    """Serve POST /rank. Beyond loopback it wants an API key: PODIUM_API_KEY, or podium keys."""
    logs.configure(log_level)
    serving = Serving(
        host=host,
        port=port,
        config=config,
        store_url=store,
        api_key=(api_key or "").strip() or None,
        drain_s=drain_s,
        grace_s=grace_s,
        max_connections=max_connections,
        log_level=log_level,
    )
    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        runner.run(serve(serving) if workers == 1 else serve_by_workers(serving, workers))
