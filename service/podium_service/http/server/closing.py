"""How a connection ends: with an error where no application gives one, and when its owner says."""

import asyncio
from collections.abc import Callable
from weakref import WeakMethod

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from podium_service.errors import PodiumError


class Answers(asyncio.Transport):
    """Where an application's answer is written to: a transport whose end is its owner's to decide.

    Args:
        hang_up: weak, or a connection would be a cycle that the collector must find.
    """

    def __init__(
        self, transport: asyncio.Transport, hang_up: WeakMethod[Callable[[], None]]
    ) -> None:
        super().__init__()
        self._transport = transport
        self._hang_up = hang_up

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        if (hang_up := self._hang_up()) is not None:
            hang_up()


def raw_problem(error: PodiumError) -> bytes:
    """An error as a whole answer."""
    content = orjson.dumps(error.problem())
    headers = [
        b"content-type: application/problem+json",
        b"content-length: %d" % len(content),
        b"connection: close",
    ]
    if error.retry_after is not None:
        headers.append(b"retry-after: %d" % error.retry_after)
    return STATUS_LINE[error.status] + b"\r\n".join(headers) + b"\r\n\r\n" + content
