"""What one group costs the service: CPU (all threads) per group, ranked in process, and where.

    python -m benchmarks.profile_group [--groups 64] [--repeats 25] [--in-flight 16] [--profile]

A scripted judge answers at once over loopback; the store is SQLite. Parsing, validating, ranking,
writing and the answer's JSON are all in it; the HTTP server in front is not (`benchmarks.load`
has it). `--profile` prints where the event loop's thread spends it, at cProfile's surcharge.
"""

import asyncio
import cProfile
import pstats
import tempfile
import time
from pathlib import Path
from typing import Annotated

import structlog
import typer
from starlette.requests import Request
from starlette.types import Message

from benchmarks.load.connection import templates
from benchmarks.processes import JUDGES, judge_server
from service.app import Service
from service.body import read_json, validated
from service.schemas import MAX_BODY_BYTES, RankRequest
from service.server import event_loop_factory, open_service

WARM_UP = 50


def main(
    groups: Annotated[int, typer.Option(min=1)] = 64,
    kb: Annotated[int, typer.Option(min=1)] = 95,
    in_flight: Annotated[int, typer.Option(min=1)] = 16,
    repeats: Annotated[int, typer.Option(min=1)] = 25,
    profile: Annotated[bool, typer.Option("--profile")] = False,
) -> None:
    """Print CPU ms per group: the least of the repeats, which other work disturbed least."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    loop_factory = event_loop_factory()
    with judge_server(0.0) as judge, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(measure(judge.url, groups, kb * 1000, in_flight, repeats, profile=profile))


async def measure(
    url: str, groups: int, group_bytes: int, in_flight: int, repeats: int, *, profile: bool
) -> None:
    """Rank new groups, `in_flight` at a time."""
    bodies = templates(group_bytes)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "judges.yaml"
        config.write_text(JUDGES.format(url=url))
        async with open_service(config, f"{folder}/podium.db") as service:
            await rank_all(service, bodies, "warm", WARM_UP, in_flight)
            found = []
            for repeat in range(repeats):
                started = time.process_time()
                await rank_all(service, bodies, str(repeat), groups, in_flight)
                found.append(1000 * (time.process_time() - started) / groups)
            found.sort()
            print(f"{found[0]:.2f} ms of CPU per group; median {found[len(found) // 2]:.2f}")
            if profile:
                with cProfile.Profile() as profiler:
                    await rank_all(service, bodies, "profiled", groups, in_flight)
                pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


async def rank_all(
    service: Service, bodies: list[list[bytes]], run: str, groups: int, in_flight: int
) -> None:
    """As a `POST /rank` does it, from body to answer."""
    numbers = iter(range(groups))

    async def worker() -> None:
        for number in numbers:
            body = f"{run}-{number}".encode().join(bodies[number % len(bodies)])
            group = validated(RankRequest, await read_json(_posted(body), MAX_BODY_BYTES))
            (await service.ranker.rank(group)).model_dump_json()

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def _posted(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"application/json")]
    return Request({"type": "http", "headers": headers}, receive)


if __name__ == "__main__":
    typer.run(main)
