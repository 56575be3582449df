"""What one group costs the service: CPU (all threads) per group, ranked in process, and where;
what the store keeps of it, and writes to the disk for it.

    python -m benchmarks.profile_group [--groups 64] [--repeats 25] [--in-flight 16] [--profile]

A scripted judge answers at once over loopback; the store is SQLite. The whole application is in it,
from body to answer; the HTTP server in front is not (`benchmarks.load` has it). `--profile` prints
where the event loop's thread spends it, at cProfile's surcharge.
"""

import asyncio
import cProfile
import os
import pstats
import sqlite3
import tempfile
import time
from contextlib import closing, redirect_stderr
from pathlib import Path
from typing import Annotated

import psutil
import typer
from starlette.types import ASGIApp, Message

from benchmarks.load.connection import templates
from benchmarks.processes import judge_server, judges_file
from podium_service.http.app import create_app
from podium_service.http.server.gc_policy import freeze_gc
from podium_service.http.server.server import event_loop_factory
from podium_service.http.service import open_service
from podium_service.telemetry import logs

WARM_UP = 50
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/rank",
    "raw_path": b"/rank",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 2),
}


def main(
    groups: Annotated[int, typer.Option(min=1)] = 64,
    kb: Annotated[int, typer.Option(min=1)] = 95,
    in_flight: Annotated[int, typer.Option(min=1)] = 16,
    repeats: Annotated[int, typer.Option(min=1)] = 25,
    profile: Annotated[bool, typer.Option("--profile")] = False,
) -> None:
    """Print CPU ms per group: the least of the repeats, which other work disturbed least."""
    loop_factory = event_loop_factory()
    with (
        Path(os.devnull).open("w") as nowhere,
        judge_server(0.0) as judge,
        asyncio.Runner(loop_factory=loop_factory) as runner,
        redirect_stderr(nowhere),
    ):
        logs.configure("info")  # lines are made and written, as in the service
        runner.run(measure(judge.url, groups, kb * 1000, in_flight, repeats, profile=profile))


async def measure(
    url: str, groups: int, group_bytes: int, in_flight: int, repeats: int, *, profile: bool
) -> None:
    """Rank new groups, `in_flight` at a time."""
    bodies = templates(group_bytes)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "judges.yaml"
        config.write_text(judges_file(url))
        async with open_service(config, f"{folder}/podium.db") as service:
            app = create_app(service)
            freeze_gc()
            await rank_all(app, bodies, "warm", WARM_UP, in_flight)
            kept, written, found = stored_bytes(folder), written_bytes(), []
            for repeat in range(repeats):
                started = time.process_time()
                await rank_all(app, bodies, str(repeat), groups, in_flight)
                found.append(1000 * (time.process_time() - started) / groups)
            found.sort()
            print(f"{found[0]:.2f} ms of CPU per group; median {found[len(found) // 2]:.2f}")
            num_kb = 1000 * groups * repeats
            kept_kb = (stored_bytes(folder) - kept) / num_kb
            written_kb = (written_bytes() - written) / num_kb
            print(f"{kept_kb:.0f} kB kept and {written_kb:.0f} kB written per group (0: no disk)")
            if profile:
                with cProfile.Profile() as profiler:
                    await rank_all(app, bodies, "profiled", groups, in_flight)
                pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def stored_bytes(folder: str) -> int:
    """Return the size of the database's file, after its log is moved into it."""
    with closing(sqlite3.connect(f"{folder}/podium.db")) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(folder, "podium.db").stat().st_size


def written_bytes() -> int:
    """Return what this process wrote to disks so far, the database's logs among it."""
    return psutil.Process().io_counters().write_bytes


async def rank_all(
    app: ASGIApp, bodies: list[list[bytes]], run: str, groups: int, in_flight: int
) -> None:
    """Post groups to the application, without a server."""
    numbers = iter(range(groups))

    async def worker() -> None:
        for number in numbers:
            body = f"{run}-{number}".encode().join(bodies[number % len(bodies)])
            await post(app, body)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def post(app: ASGIApp, body: bytes) -> None:
    """Send one `POST /rank`, in which the caller stays to the end."""
    answered = asyncio.Event()
    statuses: list[int] = []
    incoming = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        message = next(incoming, None)
        if message is None:
            await answered.wait()
        return message or {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await app(SCOPE | {"state": {}}, receive, send)
    answered.set()
    if statuses != [200]:
        raise RuntimeError(f"not ranked: the application answered {statuses}")


if __name__ == "__main__":
    typer.run(main)
