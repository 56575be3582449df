"""Callers who close their connection before the response."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import (
    ScriptedJudge,
    hangs,
    until,
)
from tests.service.helpers import group, llm
from tests.service.process import Podium, in_flight, running_with

pytestmark = pytest.mark.anyio


async def send_request(
    process: Podium, path: str, body: bytes, length: int
) -> asyncio.StreamWriter:
    """Send a request, and return the connection, which the caller closes."""
    assert process.url
    _, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rsplit(":", 1)[1]))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % length + body)
    return writer


@pytest.mark.parametrize("path", ["/rank", "/rank/batch"])
async def test_closing_the_connection_cancels_the_judge_calls(path: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = group("5", "five")
    body = json.dumps(asked if path == "/rank" else {"groups": [asked]}).encode()
    async with (
        ScriptedJudge(always=hangs).serving() as judge,
        running_with(tmp_path, main=llm(judge.url)) as (http, process),
    ):
        writer = await send_request(process, path, body, len(body))
        await until(lambda: judge.in_flight == 4)
        assert await in_flight(http) == 4
        writer.close()
        await until(lambda: has_logged_request(process, path))

        async def idle() -> bool:
            return await in_flight(http) == 0

        await until(idle)
        assert [line for line in process.logs if line["level"] == "error"] == []


async def test_closing_the_connection_during_the_body_is_not_a_bug(tmp_path: Path) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        running_with(tmp_path, main=llm(judge.url)) as (http, process),
    ):
        writer = await send_request(process, "/rank", b"{", 1000)
        await writer.drain()
        writer.close()
        await until(lambda: has_logged_request(process, "/rank"))
        assert [line for line in process.logs if line["level"] == "error"] == []
        assert 'status="500"' not in (await http.get("/metrics")).text


def has_logged_request(process: Podium, route: str) -> bool:
    return any(line["route"] == route for line in process.logged("request"))
