"""Stop the work of a request whose caller has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from podium_service.telemetry.tracebacks import drop_locals_on_error

T = TypeVar("T")


@drop_locals_on_error
async def run_while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, or cancel it and raise an error if the caller disconnects."""
    task = asyncio.ensure_future(work)
    # The body has been read, so the next message says that the caller has disconnected.
    disconnect = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        disconnect.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, disconnect, return_exceptions=True)
