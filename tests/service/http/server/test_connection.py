"""One connection: where a request ends and the next begins, and its clocks, made short: who is too
slow is left, who waits for an answer is not."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from podium_service.http.server.connection import MAX_HEADERS, MAX_WAITING, GuardedProtocol
from tests.fakes import until

pytestmark = pytest.mark.anyio

HEAD = b"POST /rank HTTP/1.1\r\nhost: podium\r\ncontent-length: 4\r\n\r\n"
CHUNKED = b"POST /rank HTTP/1.1\r\nhost: podium\r\ntransfer-encoding: chunked\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nhost: podium\r\n\r\n"
HEAD_S, JUDGE_S, LINGER_S = 0.5, 0.8, 0.2
LARGE = 2**25  # more than a kernel keeps for who does not read


async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after a while, as a judge does."""
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
    """The whole body, or None if the peer has gone."""
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
    return None


async def echo_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what it was asked, with all headers, and then `ok`."""
    body = await read(receive)
    if body is not None:
        names = b",".join(name for name, _ in scope["headers"])
        await answer(send, b"%s %s [%s] ok" % (scope["path"].encode(), names, body))


async def hasty_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers before it has read anything."""
    await answer(send, b"ok")


async def large_app(scope: Scope, receive: Receive, send: Send) -> None:
    await read(receive)
    await answer(send, b"x" * LARGE)


@asynccontextmanager
async def connected(
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
        return GuardedProtocol(
            config,
            known,
            {},
            head_s=head_s,
            linger_s=LINGER_S,
            head_while_stopping_s=head_while_stopping_s,
            stopping=lambda: stopping,
        )

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            await until(lambda: not known.connections)


async def answered(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"ok"), timeout=10)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends."""
    return await asyncio.wait_for(reader.read(), timeout=10)


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answers)]


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
        if begun:
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
    async with connected(state, head_s=60, head_while_stopping_s=0.15) as (reader, _):
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


# Where a request ends


UPGRADE = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.mark.parametrize("size", [1, 40, 10_000], ids="{} bytes at once".format)
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"content-length: %d\r\n\r\n" % len(GET), GET),
        (b"transfer-encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET), GET)),
    ],
    ids=["length", "chunked"],
)
async def test_a_request_that_would_upgrade_is_served_as_it_is_with_its_own_body(
    framing: bytes, body: bytes, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    asked = HEAD[: HEAD.index(b"content-length")] + UPGRADE + framing + body
    async with connected(app=echo_app) as (reader, writer):
        for _ in range(2):
            for start in range(0, len(asked), size):
                writer.write(asked[start : start + size])
                await asyncio.sleep(0)
            assert b"\r\n\r\n/rank host," in (answer := await answered(reader))
            assert b"[" + GET + b"]" in answer
            assert statuses(answer) == [200]
        writer.write(
            GET.replace(b"GET", b"DELETE").replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n")
        )
        writer.write(GET)
        assert b"/livez host,connection,http2-settings [] ok" in await answered(reader)
        assert b"/livez host [] ok" in await answered(reader)
    assert caplog.records == []


async def test_a_tunnel_is_refused() -> None:
    async with connected(app=echo_app) as (reader, writer):
        writer.write(b"CONNECT podium:80 HTTP/1.1\r\nhost: podium\r\n\r\n" + GET)
        assert statuses(await all_of(reader)) == [400]


@pytest.mark.parametrize("body", [b"0\r\n", b"2\r\nhi\r\n0\r\n"])
async def test_trailers_are_read_over_and_are_no_headers_of_the_next_request(body: bytes) -> None:
    async with connected(app=echo_app) as (reader, writer):
        writer.write(CHUNKED + body + b"authorization: a\r\nx: y\r\n\r\n" + GET)
        assert b"/rank host,transfer-encoding [" in await answered(reader)
        assert b"/livez host [] ok" in await answered(reader)


@pytest.mark.parametrize("answers", [0, 1])
@pytest.mark.parametrize("begun", [b"0\r\n", b"0\r\na: ", b"2;", b"2\r\nhi\r\n0\r\n"])
async def test_what_goes_on_without_more_of_a_body_is_not_read_without_end(
    begun: bytes, answers: int
) -> None:
    async with connected(app=hasty_app if answers else slow_app) as (reader, writer):
        writer.write(CHUNKED + begun)
        if answers:
            await answered(reader)
        for _ in range(100):
            writer.write((b"b:c\r\n" if begun.endswith(b"\n") else b"x") * 4000)
            await asyncio.sleep(0)
        assert statuses(await all_of(reader)) == ([] if answers else [431])


async def test_empty_lines_before_a_request_are_not_read_without_end() -> None:
    async with connected() as (reader, writer):
        writer.write(b"\r\n" + HEAD + b"body\r\n")
        assert statuses(await answered(reader)) == [200]
        for _ in range(100):
            writer.write(b"\r\n" * 4000)
            await asyncio.sleep(0)
        assert statuses(await all_of(reader)) == [431]


async def test_a_request_has_no_more_headers_than_it_may() -> None:
    most = HEAD[:-2] + b"a:b\r\n" * (MAX_HEADERS - 2)
    async with connected() as (reader, writer):
        writer.write(most + b"\r\nbody")
        assert statuses(await answered(reader)) == [200]
        writer.write(most + b"a:b\r\n" * 9000)
        assert statuses(await all_of(reader)) == [431]


async def test_no_more_requests_wait_for_an_earlier_one_than_may() -> None:
    async with connected(app=echo_app) as (reader, writer):
        writer.write(GET * (1 + MAX_WAITING))
        for _ in range(1 + MAX_WAITING):
            assert statuses(await answered(reader)) == [200]
        writer.write(GET * 1000)
        assert statuses(await all_of(reader)) == (1 + MAX_WAITING) * [200] + [429]


BAD_FRAMING = [
    HEAD.replace(b"content-length: 4", b"transfer-encoding: xchunked") + b"0\r\n\r\n",
    CHUNKED + b"-1\r\n\r\n",
    CHUNKED + b"2\r\nhiho\r\n",
]


@pytest.mark.parametrize("bad", [*BAD_FRAMING, b"GARBAGE\r\n\r\n"])
async def test_what_cannot_be_read_is_told_so_after_earlier_requests_are_answered(
    bad: bytes,
) -> None:
    for earlier in range(3):
        async with connected(app=echo_app) as (reader, writer):
            writer.write((HEAD + b"body") * earlier + bad + GET)
            assert statuses(await all_of(reader)) == earlier * [200] + [400]


@pytest.mark.parametrize("bad", BAD_FRAMING[1:])
async def test_a_request_answered_before_its_body_went_wrong_is_not_answered_again(
    bad: bytes,
) -> None:
    async with connected(app=hasty_app) as (reader, writer):
        writer.write(CHUNKED)
        assert statuses(await answered(reader)) == [200]
        writer.write(bad.removeprefix(CHUNKED) + GET)
        assert await all_of(reader) == b""


async def test_who_reads_slowly_has_time_for_all_that_was_said_before_the_connection_ends() -> None:
    async with connected(app=large_app) as (reader, writer):
        writer.write(HEAD + b"body" + b"GARBAGE\r\n\r\n")
        await asyncio.sleep(3 * LINGER_S)
        answers = await all_of(reader)
        assert len(answers) > LARGE
        assert statuses(answers) == [200, 400]


# Answers before the request is read


@pytest.mark.parametrize("ends", [b"", b"connection: close\r\n"])
async def test_who_still_sends_can_read_an_answer_that_came_before(ends: bytes) -> None:
    head = HEAD.replace(b"content-length: 4", ends + b"content-length: 30000000")
    async with connected(app=hasty_app) as (reader, writer):
        writer.write(head)
        sent = 0
        while sent < 30_000_000 and not writer.is_closing():
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent += 1_000_000
        assert sent == 30_000_000
        assert statuses(await answered(reader)) == [200]


@pytest.mark.parametrize("ends", [b"", b"connection: close\r\n"])
async def test_who_never_sends_the_rest_of_what_was_answered_is_left(ends: bytes) -> None:
    async with connected(app=hasty_app) as (reader, writer):
        writer.write(HEAD.replace(b"host", ends + b"host") + b"bo")
        assert statuses(await answered(reader)) == [200]
        assert await all_of(reader) == b""


async def test_a_connection_lives_on_if_what_was_answered_comes_after_all() -> None:
    async with connected(app=hasty_app, head_s=LINGER_S) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"bo")
            assert statuses(await answered(reader)) == [200]
            writer.write(b"dy")
            await asyncio.sleep(3 * LINGER_S)
    async with connected(app=hasty_app, keep_alive_s=1) as (reader, writer):
        writer.write(HEAD + b"bo")
        assert statuses(await answered(reader)) == [200]
        writer.write(b"dy")
        assert await all_of(reader) == b""


async def test_a_body_that_comes_while_an_earlier_request_is_answered_is_waited_for() -> None:
    async with connected() as (reader, writer):
        writer.write(HEAD + b"body" + HEAD + b"bo")
        assert statuses(await answered(reader)) == [200]
        await asyncio.sleep(3 * LINGER_S)
        writer.write(b"dy")
        assert statuses(await answered(reader)) == [200]
