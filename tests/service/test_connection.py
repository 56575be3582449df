"""One connection's clocks, made short: who is too slow is left, who waits for an answer is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.connection import GuardedProtocol
from tests.fakes import until

pytestmark = pytest.mark.anyio

HEAD = b"POST /rank HTTP/1.1\r\nhost: podium\r\ncontent-length: 4\r\n\r\n"
HEAD_S, JUDGE_S = 0.5, 0.8


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
async def connected(
    state: ServerState | None = None,
    *,
    head_s: float = HEAD_S,
    last_chance_s: float = 60.0,
    stopping: bool = False,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = Config(slow_app, log_config=None, lifespan="off", timeout_keep_alive=60)
    config.load()
    known = state or ServerState()

    def connection() -> GuardedProtocol:
        return GuardedProtocol(
            config,
            known,
            {},
            head_s=head_s,
            last_chance_s=last_chance_s,
            stopping=lambda: stopping,
        )

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
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
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""  # uvicorn would wait 60 s


async def own(state: ServerState) -> GuardedProtocol:
    """The server's side of the only connection."""
    await until(lambda: bool(state.connections))
    (connection,) = state.connections
    assert isinstance(connection, GuardedProtocol)
    return connection


@pytest.mark.parametrize("answers", [0, 1])
@pytest.mark.parametrize("begun", [b"", HEAD[:9], HEAD + b"bo"])
async def test_a_request_that_comes_as_the_server_stops_is_answered_and_ends_its_connection(
    begun: bytes, answers: int
) -> None:
    state = ServerState()
    async with connected(state, head_s=60) as (reader, writer):
        connection = await own(state)
        for _ in range(answers):
            writer.write(HEAD + b"body")
            assert b"connection: close" not in await answered(reader)
        connection.data_received(begun)
        connection.shutdown()
        if answers and not begun:  # it was idle: closed at once
            assert connection.transport.is_closing()
            return
        writer.write((HEAD + b"body").removeprefix(begun) + HEAD)
        answer = await asyncio.wait_for(reader.read(), timeout=10)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("begun", [b"", HEAD[:9]])
async def test_who_does_not_ask_holds_up_a_stop_for_no_longer_than_a_last_chance(
    begun: bytes,
) -> None:
    state = ServerState()
    async with connected(state, head_s=60, last_chance_s=0.15) as (reader, _):
        connection = await own(state)
        connection.data_received(begun)
        connection.shutdown()
        connection.data_received(HEAD[len(begun) : 12])  # a trickle makes it no longer
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""
    assert not state.connections


async def test_a_connection_made_while_the_server_stops_has_its_last_chance_too() -> None:
    async with connected(head_s=60, stopping=True) as (reader, writer):
        writer.write(HEAD + b"body")
        assert b"\r\nconnection: close\r\n" in await asyncio.wait_for(reader.read(), timeout=10)
