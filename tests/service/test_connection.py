"""One connection's clocks, made short: who is too slow is left, who waits for an answer is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.connection import GuardedProtocol

pytestmark = pytest.mark.anyio

HEAD = b"POST /rank HTTP/1.1\r\nhost: podium\r\ncontent-length: 4\r\n\r\n"
HEAD_S, JUDGE_S = 0.15, 0.5


async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after a while, as a judge does."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(JUDGE_S)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = Config(slow_app, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: GuardedProtocol(config, state, {}, head_s=HEAD_S), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()


async def answered(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"ok")


@pytest.mark.parametrize("pieces", [[HEAD + b"body"], [HEAD, b"body"], [HEAD + b"bo", b"dy"]])
async def test_an_answer_may_take_longer_than_a_head(pieces: list[bytes]) -> None:
    async with connected() as (reader, writer):
        for _ in range(2):  # the second on a connection that is kept
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)
            assert (await answered(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"POST", HEAD[:-2]])
async def test_a_head_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(begun)
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""


async def test_a_head_begun_while_another_request_is_answered_has_its_time_from_then_on() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD + b"body" + HEAD[:9])
        assert (await answered(reader)).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""
