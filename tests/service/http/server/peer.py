"""The client's side of a connection to `GuardedProtocol`, and apps that answer on it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from podium_service.http.server.connection import GuardedProtocol
from tests.fakes import until

HEAD = b"POST /rank HTTP/1.1\r\nhost: podium\r\ncontent-length: 4\r\n\r\n"
CHUNKED = b"POST /rank HTTP/1.1\r\nhost: podium\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nhost: podium\r\n\r\n"
HEAD_S, JUDGE_S, LINGER_S = 0.5, 0.8, 0.2
LARGE = 2**25  # more bytes than the kernel buffers for a client that does not read


async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `ok` after `JUDGE_S`."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(JUDGE_S)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


async def answer(send: Send, content: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(content))
    await send({"type": "http.response.start", "status": 200, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": content})


async def read(receive: Receive) -> bytes | None:
    """Return the whole body, or None if the client has disconnected."""
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
    return None


async def echo_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the path, the names of the headers and the body, and then `ok`."""
    body = await read(receive)
    if body is not None:
        names = b",".join(name for name, _ in scope["headers"])
        await answer(send, b"%s %s [%s] ok" % (scope["path"].encode(), names, body))


async def hasty_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `ok` before reading anything."""
    await answer(send, b"ok")


async def large_app(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)
    await answer(send, b"x" * LARGE)


@asynccontextmanager
async def connect(
    state: ServerState | None = None,
    *,
    app: ASGIApp = slow_app,
    head_s: float = HEAD_S,
    keep_alive_s: int = 60,
    head_while_stopping_s: float = 60.0,
    stopping: bool = False,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = Config(app, log_config=None, lifespan="off", timeout_keep_alive=keep_alive_s)
    config.load()
    known = state or ServerState()

    def connection() -> GuardedProtocol:
        protocol = GuardedProtocol(config, known, {}, stopping=lambda: stopping)
        protocol.head_s, protocol.linger_s = head_s, LINGER_S
        protocol.head_while_stopping_s = head_while_stopping_s
        return protocol

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            await until(lambda: not known.connections)


async def read_response(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"ok"), timeout=10)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the connection ends."""
    return await asyncio.wait_for(reader.read(), timeout=10)


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)]
