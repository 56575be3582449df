"""The end of a connection: a transport that asks before it closes, and a raw error response."""

import asyncio
from collections.abc import Callable
from weakref import WeakMethod

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from podium_service.errors import PodiumError


class ResponseTransport(asyncio.Transport):
    """Passes a response on to the real transport, and lets the connection decide how to close.

    Args:
        close: weak, because connection and transport would otherwise make a reference cycle, which
            only the garbage collector frees.
    """

    def __init__(self, transport: asyncio.Transport, close: WeakMethod[Callable[[], None]]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close

    def write(self, data: bytes | bytearray | memoryview) -> None:
        # A client may leave between two events; uvloop raises then, and asyncio does not.
        if not self._transport.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if (close := self._close()) is not None:
            close()


def raw_problem(error: PodiumError) -> bytes:
    """Return the whole HTTP response for an error, after which the connection closes."""
    content = orjson.dumps(error.problem())
    headers = [
        b"content-type: application/problem+json",
        b"content-length: %d" % len(content),
        b"connection: close",
    ]
    if error.retry_after is not None:
        headers.append(b"retry-after: %d" % error.retry_after)
    return STATUS_LINE[error.status] + b"\r\n".join(headers) + b"\r\n\r\n" + content
