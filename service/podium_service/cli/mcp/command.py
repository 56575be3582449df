"""`podium mcp`: ranking as tools for coding agents."""

import asyncio
import socket
from importlib.util import find_spec
from typing import Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError


def mcp_command(
    http: Annotated[
        bool, typer.Option("--http", help="Serve streamable HTTP at /mcp instead of stdio.")
    ] = False,
    host: Annotated[str, typer.Option(help="The address to listen on, with --http.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on, with --http; 0 takes a free one.")
    ] = 8010,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    service: options.ServiceURL = None,
    api_key: options.APIKeyText = None,
    log_level: options.LogLevel = "error",
) -> None:
    """Serve ranking as tools of the Model Context Protocol, over stdio or HTTP.

    It ranks in this process, or by --service. The API key is the one of the service, and with
    --http the one that callers must send.
    """
    if find_spec("mcp") is None:
        raise ConfigError("mcp is not installed: in the clone run pip install '.[service,mcp]'")
    from podium_service.cli.mcp.backends import open_backend
    from podium_service.cli.mcp.server import PATH, serve_http, serve_stdio
    from podium_service.http.server.server import require_key_beyond_loopback

    options.configure_logs(log_level)
    key = (api_key or "").strip() or None

    async def serve() -> None:
        async with open_backend(service, key, config, store) as backend:
            if not http:
                await serve_stdio(backend)
                return
            require_key_beyond_loopback(host, has_key=key is not None)
            listener = _listen(host, port)
            where = f"[{host}]" if ":" in host else host
            url = f"http://{where}:{listener.getsockname()[1]}{PATH}"
            typer.echo(f"podium mcp: listening on {url}", err=True)
            await serve_http(backend, listener, key)

    asyncio.run(serve())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}: choose another --port"
        ) from error
