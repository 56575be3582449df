"""`podium serve --workers N`: no request is lost, and no process is left behind."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
import pytest

from podium_service.http.server.supervisor import MAX_FAILED_STARTS
from tests.fakes import ScriptedJudge, by_length, scores, until
from tests.service.helpers import group, judges_file, llm
from tests.service.process import Podium, has_ended, podium, running

pytestmark = pytest.mark.anyio

REFERENCE = {"reference": "5"}
CHECKS = {"kind": "checks", "criteria": [{"check": "matches_reference"}]}
GOOD = scores(by_length)


def workers(process: Podium) -> list[psutil.Process]:
    """Return the worker processes."""
    return psutil.Process(process.pid).children()


async def ask(url: str | None) -> int:
    """Return the status of one ranking, asked over a new connection."""
    assert url
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        return (await http.post(f"{url}/rank", json=group("5", "6", **REFERENCE))).status_code


async def count_rankings(url: str | None) -> Counter[str]:
    """Return the rankings of all workers by status, as one worker's metrics show them."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        lines = (await http.get(f"{url}/metrics")).text.splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        if line.startswith('podium_requests_total{route="/rank"'):
            found[line.split('status="')[1][:3]] += int(float(line.split()[-1]))
    return found


def have_ranked(url: str | None, number: int) -> Callable[[], Awaitable[bool]]:
    """Return a condition: whether the metrics show `number` rankings, all with status 200."""

    async def condition() -> bool:
        return await count_rankings(url) == {"200": number}

    return condition


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Yield a folder whose path is short enough for a socket in it."""
    with TemporaryDirectory(prefix="podium-") as folder:
        yield Path(folder)


@pytest.mark.restart
async def test_workers_share_port_and_metrics_and_are_replaced(
    tmp_path: Path, temporary: Path
) -> None:
    options = ("--workers", "2", "--drain-s", "0")
    with running(*options, cwd=tmp_path, TMPDIR=str(temporary)) as process:
        assert [name[:15] for name in os.listdir(temporary)] == ["podium-metrics-"]
        first = workers(process)
        assert len(first) == 2
        assert await asyncio.gather(*(ask(process.url) for _ in range(20))) == [200] * 20
        await until(have_ranked(process.url, 20))
        first[0].kill()
        await until(lambda: bool(process.logged("worker_died")))
        assert await asyncio.gather(*(ask(process.url) for _ in range(20))) == [200] * 20
        await until(have_ranked(process.url, 40))
        await until(lambda: len(workers(process)) == 2)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
        assert all(map(has_ended, first))
    assert os.listdir(temporary) == []


async def test_a_bad_config_ends_the_supervisor_with_one_line(tmp_path: Path) -> None:
    finished = await podium(
        "serve", "--port", "0", "--workers", "2", "--config", "no.yaml", cwd=tmp_path
    )
    assert finished.code == 1
    assert finished.err.splitlines()[-1].startswith("podium: no.yaml: cannot be read")


@pytest.mark.restart
async def test_workers_that_die_at_their_start_end_the_service(tmp_path: Path) -> None:
    # Only the workers read this, because the supervisor has started already.
    broken = {"PYTHONHASHSEED": "no number"}
    finished = await podium("serve", "--port", "0", "--workers", "2", cwd=tmp_path, **broken)
    assert finished.code == 1
    last = finished.err.splitlines()[-1]
    assert last.startswith("podium: a worker died at its start 3 times (exit status 1)")


@pytest.mark.restart
async def test_workers_serve_while_another_one_cannot_start(
    tmp_path: Path,
) -> None:
    config = judges_file(tmp_path / "judges.yaml", checks=CHECKS)
    with running("--workers", "2", "--config", str(config), cwd=tmp_path) as process:
        first, second = workers(process)
        config.write_text("judges: [")
        first.kill()
        await until(lambda: len(process.logged("worker_died")) > 1 + MAX_FAILED_STARTS, 60)
        assert await ask(process.url) == 200
        assert "not YAML" in process.logged("worker_failed")[0]["detail"]
        judges_file(config, checks=CHECKS)
        second.kill()
        assert await ask(process.url) == 200  # a new worker, because both first ones are dead
        pauses = [line["again_in_s"] for line in process.logged("worker_died")]
        assert pauses[:4] == [0, 0.5, 1, 1.5]
        await until(lambda: len(workers(process)) == 2)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.restart
async def test_a_killed_supervisor_leaves_no_worker(tmp_path: Path) -> None:
    async with ScriptedJudge(always=GOOD, hold=1000).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url))
        with running("--workers", "2", "--config", str(config), cwd=tmp_path) as process:
            left = workers(process)
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: judge.in_flight == 4)
                process.kill()
                judge.hold = 0
                assert (await asking).status_code == 200  # because workers finish their requests
            await until(lambda: all(map(has_ended, left)))


@pytest.mark.restart
async def test_a_stopping_service_refuses_connections(
    tmp_path: Path,
) -> None:
    async with ScriptedJudge(always=GOOD, hold=1000).serving() as judge:
        config = str(judges_file(tmp_path / "judges.yaml", main=llm(judge.url)))
        options = ("--workers", "2", "--config", config, "--drain-s", "0.5")
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: judge.in_flight == 4)
                process.send(signal.SIGTERM)
                await until(lambda: is_refused(process.url))
                assert not asking.done()
                judge.hold = 0
                assert (await asking).status_code == 200
            assert await process.ended() == 0


async def is_refused(url: str | None) -> bool:
    """Return whether a new connection is refused."""
    async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
        try:
            await http.get(f"{url}/livez")
        except httpx.ConnectError:
            return True
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.TimeoutException):
            return False  # the connection was accepted just before
        return False


@pytest.mark.restart
async def test_a_rolling_restart_under_load_loses_no_request(tmp_path: Path) -> None:
    """Stop and restart two services in turn, while clients use the one that is ready."""
    async with ScriptedJudge(always=scores(by_length, delay_s=0.05)).serving() as judge:
        config = str(judges_file(tmp_path / "judges.yaml", main=llm(judge.url)))
        options = ("--config", config, "--drain-s", "10")
        urls: dict[str, str] = {}
        statuses: Counter[int] = Counter()
        stopping = asyncio.Event()

        async def client(number: int) -> None:
            async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
                asked = 0
                while not stopping.is_set():
                    url = await find_ready(http, urls)
                    content = group("5", f"five {number} {asked}")
                    statuses[(await http.post(f"{url}/rank", json=content)).status_code] += 1
                    asked += 1

        with running(*options, cwd=tmp_path) as a, running(*options, cwd=tmp_path) as b:
            assert a.url
            assert b.url
            urls |= {"a": a.url, "b": b.url}
            clients = [asyncio.create_task(client(number)) for number in range(16)]
            await until(lambda: statuses[200] > 50)
            a.send(signal.SIGTERM)
            assert await a.ended() == 0
            with running(*options, cwd=tmp_path) as again:
                assert again.url
                urls["a"] = again.url
                so_far = statuses[200]
                await until(lambda: statuses[200] > so_far + 20)
                b.send(signal.SIGTERM)
                assert await b.ended() == 0
                so_far = statuses[200]
                await until(lambda: statuses[200] > so_far + 20)
                stopping.set()
                await asyncio.gather(*clients)
    assert set(statuses) == {200}


async def find_ready(http: httpx.AsyncClient, urls: dict[str, str]) -> str:
    """Return the URL of the first service that is ready."""
    while True:
        for url in list(urls.values()):
            try:
                if (await http.get(f"{url}/readyz")).status_code == 200:
                    return url
            except httpx.TransportError:
                continue
        await asyncio.sleep(0.01)
