"""`podium serve`: the service, in this process or in several."""

import asyncio
from typing import Annotated

import typer

from podium_service.cli import options
from podium_service.http.server.defaults import GRACE_S, MAX_CONNECTIONS

Host = Annotated[str, typer.Option(envvar="PODIUM_HOST", help="The address to listen on.")]
Port = Annotated[
    int, typer.Option(envvar="PODIUM_PORT", help="The port to listen on; 0 takes a free one.")
]
DrainS = Annotated[
    float,
    typer.Option(
        envvar="PODIUM_DRAIN_S",
        min=0,
        help="Seconds after SIGTERM in which new requests are still taken and /readyz is 503.",
    ),
]
GraceS = Annotated[
    int,
    typer.Option(
        envvar="PODIUM_GRACE_S",
        min=0,
        help="Seconds after that in which open requests may finish; then they get a 503.",
    ),
]
Workers = Annotated[
    int, typer.Option(envvar="PODIUM_WORKERS", min=1, help="Processes that share the port.")
]
MaxConnections = Annotated[
    int,
    typer.Option(envvar="PODIUM_MAX_CONNECTIONS", min=1, help="Open connections of each process."),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        envvar="PODIUM_ALLOWED_HOSTS",
        help="A name by which clients ask, beside addresses and localhost; again for more. "
        "Without any, a service with keys takes every name, and one without keys no other.",
    ),
]
RootPath = Annotated[
    str,
    typer.Option(
        envvar="PODIUM_ROOT_PATH", help="The path that a proxy puts before the service's."
    ),
]
NoTexts = Annotated[
    bool,
    typer.Option(
        "--no-texts",
        envvar="PODIUM_NO_TEXTS",
        help="Keep no groups, prompts, replies and explanations in the store: numbers alone.",
    ),
]
RetentionDays = Annotated[
    float | None,
    typer.Option(
        envvar="PODIUM_RETENTION_DAYS",
        min=0.01,
        help="Delete from the store what is older, once an hour; by default nothing.",
    ),
]


def serve_command(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    api_key: options.APIKeyText = None,
    drain_s: DrainS = 2.0,
    grace_s: GraceS = GRACE_S,
    workers: Workers = 1,
    max_connections: MaxConnections = MAX_CONNECTIONS,
    allowed_host: AllowedHosts = None,
    root_path: RootPath = "",
    no_texts: NoTexts = False,
    retention_days: RetentionDays = None,
    log_level: options.LogLevel = "info",
) -> None:
    """Serve POST /rank over HTTP.

    A host other than loopback needs an API key: set PODIUM_API_KEY, or make one by `podium keys`.
    """
    from podium_service.http.server.server import ServeOptions, event_loop_factory, serve
    from podium_service.http.server.supervisor import serve_by_workers

    options.configure_logs(log_level)
    serving = ServeOptions(
        host=host,
        port=port,
        config=config,
        store_url=store,
        api_key=(api_key or "").strip() or None,
        drain_s=drain_s,
        grace_s=grace_s,
        max_connections=max_connections,
        log_level=log_level,
        allowed_hosts=tuple(allowed_host or ()),
        root_path=root_path,
        keep_texts=not no_texts,
        retention_days=retention_days,
    )
    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        runner.run(serve(serving) if workers == 1 else serve_by_workers(serving, workers))
