"""`podium view`: the pages of a store, without a service."""

import asyncio
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

if TYPE_CHECKING:  # slow to load
    from podium_service.store.store import SQLStore


def view_command(
    store: Annotated[
        str,
        typer.Argument(
            envvar="PODIUM_STORE",
            help="The store: a file, sqlite:///FILE or postgresql://...",
        ),
    ] = options.DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8001,
) -> None:
    """Show the groups and runs of a store in a browser, on this machine only.

    Nothing is asked or changed, so that it needs no judges and no key.
    """
    options.configure_logs("error")
    options.require_store(store)
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on 127.0.0.1:{port}: choose another --port") from error
    with listener:
        options.use_store(store, lambda opened: _serve(opened, listener))


async def _serve(store: "SQLStore", listener: socket.socket) -> None:
    import uvicorn

    from podium_service.http.ui.view import create_view_app

    settings = uvicorn.Config(create_view_app(store), log_config=None, ws="none", access_log=False)
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    typer.echo(f"http://127.0.0.1:{listener.getsockname()[1]}/ui", err=True)
    await serving
