"""Prebuilt bodies over one keep-alive HTTP/1.1 connection, as cheaply as Python can.

Knows only what the servers measured here send: a status line, a content-length, a body.
"""

import asyncio
from collections.abc import Sequence
from typing import cast

import orjson

from benchmarks.groups import synthetic_groups

MARK = b"@MARK@"
BASE_GROUPS = 64
HEAD_END = b"\r\n\r\n"


def templates(group_bytes: int, num: int = BASE_GROUPS) -> list[list[bytes]]:
    """Return bodies cut where each trajectory takes a mark that makes its group a new one."""
    bodies = []
    for group in synthetic_groups(num, group_bytes=group_bytes):
        for trajectory in group["trajectories"]:
            last = trajectory["messages"][-1]
            last["content"] = f"{last['content']} {MARK.decode()}"
        bodies.append(orjson.dumps(group).split(MARK))
    return bodies


def request(path: str, body: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
    )


class Connection(asyncio.Protocol):
    """One request at a time; its answer is a status and a body."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._size: int | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def lost(self) -> bool:
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour only, not by class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was lost"))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send and wait.

        Raises:
            ConnectionError: If the connection is lost before the answer is whole.
        """
        if self._transport is None:
            raise ConnectionError("the connection was lost")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._size is None:
            end = self._received.find(HEAD_END)
            if end < 0:
                return
            self._size = end + len(HEAD_END) + content_length(self._received[:end])
        if len(self._received) >= self._size:
            self._finish()

    def _finish(self) -> None:
        whole = bytes(self._received)
        self._received.clear()
        self._size = None
        if self._answer and not self._answer.done():
            status = int(whole[len("HTTP/1.1 ") :][:3])
            self._answer.set_result((status, whole.partition(HEAD_END)[2]))


def content_length(head: Sequence[int]) -> int:
    fields = bytes(head).lower().partition(b"content-length:")[2]
    return int(fields.partition(b"\r\n")[0])
