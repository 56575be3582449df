"""Serve an open service over TCP in this process, by the server that `podium serve` runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from podium_service.http.app import create_app
from podium_service.http.server.server import DrainingServer, ServeOptions, listen
from podium_service.http.service import Service


@asynccontextmanager
async def serving(opened: Service) -> AsyncIterator[str]:
    """Yield the URL of the service."""
    options = ServeOptions("127.0.0.1", 0, None, "", None, 0.0, 1, 1000, "info")
    config = uvicorn.Config(
        create_app(opened), log_config=None, ws="none", timeout_graceful_shutdown=1
    )
    started = asyncio.Event()
    server = DrainingServer(config, opened, options, started.set)
    with listen(options) as listener:
        # `serve` would take over the signals of the tests' process.
        task = asyncio.create_task(server._serve(sockets=[listener]))
        await started.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stop()
            await task
