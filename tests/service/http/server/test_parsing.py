"""Where a request ends: framing, upgrades, trailers, and the limits of what is read."""

import asyncio
import logging

import pytest

from podium_service.http.server.connection import MAX_HEADERS
from tests.service.http.server.peer import (
    CHUNKED,
    GET,
    HEAD,
    connect,
    echo_app,
    hasty_app,
    read_response,
    read_to_end,
    slow_app,
    statuses,
)

pytestmark = pytest.mark.anyio
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
async def test_an_upgrade_request_is_served_as_http_1_1(
    framing: bytes, body: bytes, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    asked = HEAD[: HEAD.index(b"content-length")] + UPGRADE + framing + body
    async with connect(app=echo_app) as (reader, writer):
        for _ in range(2):
            for start in range(0, len(asked), size):
                writer.write(asked[start : start + size])
                await asyncio.sleep(0)
            assert b"\r\n\r\n/rank host," in (answer := await read_response(reader))
            assert b"[" + GET + b"]" in answer
            assert statuses(answer) == [200]
        writer.write(
            GET.replace(b"GET", b"DELETE").replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n")
        )
        writer.write(GET)
        assert b"/livez host,connection,http2-settings [] ok" in await read_response(reader)
        assert b"/livez host [] ok" in await read_response(reader)
    assert caplog.records == []


async def test_connect_is_refused() -> None:
    async with connect(app=echo_app) as (reader, writer):
        writer.write(b"CONNECT podium:80 HTTP/1.1\r\nhost: podium\r\n\r\n" + GET)
        assert statuses(await read_to_end(reader)) == [400]


@pytest.mark.parametrize("body", [b"0\r\n", b"2\r\nhi\r\n0\r\n"])
async def test_trailers_are_not_headers_of_the_next_request(body: bytes) -> None:
    async with connect(app=echo_app) as (reader, writer):
        writer.write(CHUNKED + body + b"authorization: a\r\nx: y\r\n\r\n" + GET)
        assert b"/rank host,transfer-encoding [" in await read_response(reader)
        assert b"/livez host [] ok" in await read_response(reader)


@pytest.mark.parametrize("answers", [0, 1])
@pytest.mark.parametrize("begun", [b"0\r\n", b"0\r\na: ", b"2;", b"2\r\nhi\r\n0\r\n"])
async def test_endless_trailers_and_chunk_extensions_are_refused(
    begun: bytes, answers: int
) -> None:
    async with connect(app=hasty_app if answers else slow_app) as (reader, writer):
        writer.write(CHUNKED + begun)
        if answers:
            await read_response(reader)
        for _ in range(100):
            writer.write((b"b:c\r\n" if begun.endswith(b"\n") else b"x") * 4000)
            await asyncio.sleep(0)
        assert statuses(await read_to_end(reader)) == ([] if answers else [431])


async def test_endless_empty_lines_before_a_request_are_refused() -> None:
    async with connect() as (reader, writer):
        writer.write(b"\r\n" + HEAD + b"body\r\n")
        assert statuses(await read_response(reader)) == [200]
        for _ in range(100):
            writer.write(b"\r\n" * 4000)
            await asyncio.sleep(0)
        assert statuses(await read_to_end(reader)) == [431]


async def test_too_many_headers_are_refused() -> None:
    most = HEAD[:-2] + b"a:b\r\n" * (MAX_HEADERS - 2)
    async with connect() as (reader, writer):
        writer.write(most + b"\r\nbody")
        assert statuses(await read_response(reader)) == [200]
        writer.write(most + b"a:b\r\n" * 9000)
        assert statuses(await read_to_end(reader)) == [431]
