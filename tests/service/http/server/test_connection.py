"""One connection: its timers, made short, and its refusals."""

import asyncio

import pytest
from uvicorn.server import ServerState

from podium_service.http.server.connection import MAX_WAITING, GuardedProtocol
from tests.fakes import until
from tests.service.http.server.peer import (
    CHUNKED,
    GET,
    HEAD,
    LARGE,
    LINGER_S,
    connect,
    echo_app,
    hasty_app,
    large_app,
    read_response,
    read_to_end,
    statuses,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("pieces", [[HEAD + b"body"], [HEAD, b"body"], [HEAD + b"bo", b"dy"]])
async def test_a_response_may_take_longer_than_a_head(pieces: list[bytes]) -> None:
    async with connect() as (reader, writer):
        for _ in range(2):  # the second time on a connection that was kept alive
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)
            assert (await read_response(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"POST", HEAD[:-2]])
async def test_a_head_that_does_not_arrive_ends_the_connection(begun: bytes) -> None:
    async with connect() as (reader, writer):
        writer.write(begun)
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""


async def test_the_head_timer_starts_after_the_earlier_response() -> None:
    async with connect() as (reader, writer):
        writer.write(HEAD + b"body" + HEAD[:9])
        assert (await read_response(reader)).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""  # uvicorn would wait 60 s


async def get_server_side(state: ServerState) -> GuardedProtocol:
    """Return the server's side of the only connection."""
    await until(lambda: bool(state.connections))
    (connection,) = state.connections
    assert isinstance(connection, GuardedProtocol)
    return connection


@pytest.mark.parametrize("answers", [0, 1])
@pytest.mark.parametrize("begun", [b"", HEAD[:9], HEAD + b"bo"])
async def test_a_request_during_the_stop_is_answered_and_is_the_last(
    begun: bytes, answers: int
) -> None:
    state = ServerState()
    async with connect(state, head_s=60) as (reader, writer):
        connection = await get_server_side(state)
        for _ in range(answers):
            writer.write(HEAD + b"body")
            assert b"connection: close" not in await read_response(reader)
        if begun:
            connection.data_received(begun)
        connection.shutdown()
        if answers and not begun:  # an idle connection closes at once
            assert connection.transport.is_closing()
            return
        writer.write((HEAD + b"body").removeprefix(begun) + HEAD)
        answer = await asyncio.wait_for(reader.read(), timeout=10)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("begun", [b"", HEAD[:9]])
async def test_a_silent_client_delays_a_stop_only_for_a_limited_time(
    begun: bytes,
) -> None:
    state = ServerState()
    async with connect(state, head_s=60, head_while_stopping_s=0.15) as (reader, _):
        connection = await get_server_side(state)
        connection.data_received(begun)
        connection.shutdown()
        connection.data_received(HEAD[len(begun) : 12])  # more bytes do not extend the time
        assert await asyncio.wait_for(reader.read(), timeout=10) == b""
    assert not state.connections


async def test_a_connection_made_during_the_stop_may_send_a_request() -> None:
    async with connect(head_s=60, stopping=True) as (reader, writer):
        writer.write(HEAD + b"body")
        assert b"\r\nconnection: close\r\n" in await asyncio.wait_for(reader.read(), timeout=10)


async def test_too_many_pipelined_requests_are_refused() -> None:
    async with connect(app=echo_app) as (reader, writer):
        writer.write(GET * (1 + MAX_WAITING))
        for _ in range(1 + MAX_WAITING):
            assert statuses(await read_response(reader)) == [200]
        writer.write(GET * 1000)
        assert statuses(await read_to_end(reader)) == (1 + MAX_WAITING) * [200] + [429]


BAD_FRAMING = [
    HEAD.replace(b"content-length: 4", b"transfer-encoding: xchunked") + b"0\r\n\r\n",
    CHUNKED + b"-1\r\n\r\n",
    CHUNKED + b"2\r\nhiho\r\n",
]


@pytest.mark.parametrize("bad", [*BAD_FRAMING, b"GARBAGE\r\n\r\n"])
async def test_an_unreadable_request_is_refused_after_earlier_replies(
    bad: bytes,
) -> None:
    for earlier in range(3):
        async with connect(app=echo_app) as (reader, writer):
            writer.write((HEAD + b"body") * earlier + bad + GET)
            assert statuses(await read_to_end(reader)) == earlier * [200] + [400]


@pytest.mark.parametrize("bad", BAD_FRAMING[1:])
async def test_a_fault_in_the_body_after_the_response_sends_nothing(
    bad: bytes,
) -> None:
    async with connect(app=hasty_app) as (reader, writer):
        writer.write(CHUNKED)
        assert statuses(await read_response(reader)) == [200]
        writer.write(bad.removeprefix(CHUNKED) + GET)
        assert await read_to_end(reader) == b""


async def test_a_slow_reader_gets_every_byte_before_the_end() -> None:
    async with connect(app=large_app) as (reader, writer):
        writer.write(HEAD + b"body" + b"GARBAGE\r\n\r\n")
        await asyncio.sleep(3 * LINGER_S)
        answers = await read_to_end(reader)
        assert len(answers) > LARGE
        assert statuses(answers) == [200, 400]


@pytest.mark.parametrize("ends", [b"", b"connection: close\r\n"])
async def test_a_client_that_still_sends_can_read_the_response(ends: bytes) -> None:
    head = HEAD.replace(b"content-length: 4", ends + b"content-length: 30000000")
    async with connect(app=hasty_app) as (reader, writer):
        writer.write(head)
        sent = 0
        while sent < 30_000_000 and not writer.is_closing():
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent += 1_000_000
        assert sent == 30_000_000
        assert statuses(await read_response(reader)) == [200]


@pytest.mark.parametrize("ends", [b"", b"connection: close\r\n"])
async def test_a_body_that_never_ends_after_its_response_is_cut_off(ends: bytes) -> None:
    async with connect(app=hasty_app) as (reader, writer):
        writer.write(HEAD.replace(b"host", ends + b"host") + b"bo")
        assert statuses(await read_response(reader)) == [200]
        assert await read_to_end(reader) == b""


async def test_a_body_ending_after_its_response_keeps_the_connection() -> None:
    async with connect(app=hasty_app, head_s=LINGER_S) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"bo")
            assert statuses(await read_response(reader)) == [200]
            writer.write(b"dy")
            await asyncio.sleep(3 * LINGER_S)
    async with connect(app=hasty_app, keep_alive_s=1) as (reader, writer):
        writer.write(HEAD + b"bo")
        assert statuses(await read_response(reader)) == [200]
        writer.write(b"dy")
        assert await read_to_end(reader) == b""


async def test_a_body_may_arrive_during_an_earlier_response() -> None:
    async with connect() as (reader, writer):
        writer.write(HEAD + b"body" + HEAD + b"bo")
        assert statuses(await read_response(reader)) == [200]
        await asyncio.sleep(3 * LINGER_S)
        writer.write(b"dy")
        assert statuses(await read_response(reader)) == [200]
