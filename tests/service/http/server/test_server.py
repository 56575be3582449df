"""The server as a process: how it starts, drains and ends."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from podium_service.errors import ConfigError
from podium_service.http.server.server import require_key_beyond_loopback
from tests.fakes import (
    ScriptedJudge,
    by_length,
    scores,
    until,
)
from tests.service.helpers import count_verdicts, group, judges_file, llm, select_rows
from tests.service.process import Podium, podium, running

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)
REFERENCE = {"reference": "5"}


async def drain(process: Podium, http: httpx.AsyncClient) -> None:
    """Send SIGTERM, and wait until the service is not ready."""
    process.send(signal.SIGTERM)

    async def draining() -> bool:
        return (await http.get("/readyz")).status_code == 503

    await until(draining)


async def test_sigterm_ends_readiness_and_finishes_requests(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD, hold=1000).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url))
        with running("--config", str(config), "--drain-s", "600", cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: judge.in_flight == 4)
                assert (await http.get("/readyz")).status_code == 200
                await drain(process, http)
                process.send(signal.SIGTERM)  # ends draining, so that the service closes
                assert not asking.done()
                judge.hold = 0
                answer = await asking
            code = await process.ended()
            assert answer.status_code == 200
            assert code == 0
            assert [line for line in process.logs if line["level"] == "error"] == []
    store = tmp_path / "podium.db"
    assert select_rows(store, "SELECT id FROM rankings") == [(answer.json()["id"],)]
    assert count_verdicts(store) == 4


async def test_unfinished_requests_get_503_when_the_grace_ends(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD, hold=1000).serving() as judge:
        config = str(judges_file(tmp_path / "judges.yaml", main=llm(judge.url)))
        options = ("--config", config, "--drain-s", "0", "--grace-s", "0")
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: judge.in_flight == 4)
                process.send(signal.SIGTERM)
                answer = await asking
            assert await process.ended() == 0
    assert (answer.status_code, answer.json()["code"]) == (503, "draining")
    assert answer.json()["retryable"] is True
    assert process.logged("request")[-1]["status"] == 503


async def test_new_requests_are_answered_while_draining(tmp_path: Path) -> None:
    with running("--drain-s", "600", cwd=tmp_path) as process:
        async with process.client() as http:
            await drain(process, http)
            answer = await http.post("/rank", json=group("5", "6", **REFERENCE))
            assert answer.status_code == 200
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_second_signal_ends_draining(tmp_path: Path) -> None:
    with running("--drain-s", "600", cwd=tmp_path) as process:
        async with process.client() as http:
            await drain(process, http)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.0.2.1", "example.org", "localhost.example.org", "0"]
)
def test_a_host_beyond_loopback_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="set PODIUM_API_KEY"):
        require_key_beyond_loopback(host, has_key=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_a_host_beyond_loopback_is_allowed_with_a_key(host: str) -> None:
    require_key_beyond_loopback(host, has_key=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    require_key_beyond_loopback(host, has_key=False)


async def test_serve_refuses_an_open_host_in_one_line(tmp_path: Path) -> None:
    refused = await podium(
        "serve", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path, PODIUM_API_KEY=""
    )
    assert refused.code == 1
    assert refused.out == ""
    [line] = refused.err.splitlines()
    assert "host 0.0.0.0" in line
    assert "PODIUM_API_KEY" in line


async def test_serve_reports_a_port_in_use_in_one_line(tmp_path: Path) -> None:
    with running(cwd=tmp_path) as first:
        assert first.url
        port = first.url.rsplit(":", 1)[1]
        second = await podium("serve", "--port", port, "--store", "other.db", cwd=tmp_path)
    assert second.code == 1
    [line] = [line for line in second.err.splitlines() if '"level": "info"' not in line]
    assert port in line


async def test_the_api_key_is_read_without_its_final_newline(tmp_path: Path) -> None:
    with running(cwd=tmp_path, PODIUM_API_KEY="podium-secret\n") as process:
        async with process.client(authorization="Bearer podium-secret") as http:
            assert (await http.get("/judges")).status_code == 200
