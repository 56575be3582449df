"""A database that stops answering: deadlines hold, and the readiness probe says so."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from podium_service.http.access.api_key import create_key
from podium_service.http.access.api_key_store import add_key
from podium_service.http.service import open_service
from tests.service.helpers import client, group
from tests.service.postgres import postgres_server

pytestmark = pytest.mark.anyio


@contextmanager
def frozen(server: Any) -> Iterator[None]:
    """Stop the processes of a PostgreSQL server: connections stay open, and no answer comes."""
    number = int((Path(server.pgdata) / "postmaster.pid").read_text().split()[0])
    postmaster = psutil.Process(number)
    processes = [postmaster]
    try:
        postmaster.send_signal(signal.SIGSTOP)  # first, because it starts the others
        processes += postmaster.children()
        for process in processes[1:]:
            send(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            send(process, signal.SIGCONT)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended, as PostgreSQL's workers do."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


@pytest.mark.restart
@pytest.mark.postgres
async def test_a_frozen_database_delays_no_deadline_and_no_probe(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    patient = group("5", "6", reference="5", deadline_s=60)
    urgent = {**patient, "deadline_s": 1}
    key, text = create_key("trainer", ["rank"], requests_per_minute=100)
    with postgres_server(tmp_path_factory) as server:
        async with open_service(None, str(server.get_uri())) as opened, client(opened) as http:
            await add_key(opened.store, key)
            http.headers["Authorization"] = f"Bearer {text}"
            assert (await http.post("/rank", json=patient)).status_code == 200
            with frozen(server):
                async with asyncio.timeout(9):  # psycopg itself would wait longer
                    answer, ready, live = await asyncio.gather(
                        http.post("/rank", json=urgent), http.get("/readyz"), http.get("/livez")
                    )
            assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
            assert (ready.status_code, ready.json()["code"]) == (503, "store_unavailable")
            assert live.status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.post("/rank", json=patient)).status_code == 200
