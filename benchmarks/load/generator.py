"""The load: new groups from a closed loop over raw connections, in a process of its own.

    python -m benchmarks.load.generator --port 8000 --in-flight 64 --stagger-s 1

Prints JSON lines: `{"warm": ...}` when all workers are warm; with `--tick-s`, one line a tick;
last the outcome. Each names this process's CPU seconds so far.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable
from typing import Annotated

import orjson
import typer
import uvloop

from benchmarks.load.connection import Connection, request, templates
from benchmarks.load.rounds import ClosedLoop, Schedule, percentile

# Far beyond any deadline of the service: a fault to report instead of a benchmark that hangs.
PATIENCE_S = 300.0


class Asker:
    """Each worker's own connection, opened anew when lost; each question a group never sent yet."""

    def __init__(self, port: int, bodies: list[list[bytes]], expect: bytes) -> None:
        self._port = port
        self._bodies = bodies
        self._expect = expect
        self._run = uuid.uuid4().hex[:8]
        self._connections: dict[int, Connection] = {}

    async def ask(self, worker: int, number: int) -> str | None:
        pieces = self._bodies[number % len(self._bodies)]
        body = f"{self._run}-{number}".encode().join(pieces)
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = await self._connection(worker)
                status, answer = await connection.send(request("/rank", body))
        except (OSError, TimeoutError) as error:
            self._connections.pop(worker, None)
            return f"{type(error).__name__}: {error}"
        return self._fault(status, answer)

    def _fault(self, status: int, answer: bytes) -> str | None:
        if status != 200:
            return f"{status} {answer[:120].decode(errors='replace')}"
        return None if self._expect in answer else f"no {self._expect.decode()} in the answer"

    async def _connection(self, worker: int) -> Connection:
        held = self._connections.get(worker)
        if held is None or held.lost:
            loop = asyncio.get_running_loop()
            _, held = await loop.create_connection(Connection, "127.0.0.1", self._port)
            self._connections[worker] = held
        return held


def say(**what: object) -> None:
    print(orjson.dumps(what | {"cpu_s": time.process_time()}).decode(), flush=True)


async def tick(loop: ClosedLoop, tick_s: float) -> None:
    """Say every `tick_s` what was seen since the last time."""
    outcome, seen, began = loop.outcome, 0, time.perf_counter()
    while True:
        await asyncio.sleep(tick_s)
        new = outcome.latencies[seen:]
        seen += len(new)
        say(
            t_s=time.perf_counter() - began,
            groups=len(new),
            p50_ms=1000 * percentile(new, 0.50),
            p99_ms=1000 * percentile(new, 0.99),
            faults=dict(outcome.faults),
        )


async def generate(asker: Asker, schedule: Schedule, tick_s: float) -> None:
    loop = ClosedLoop(asker.ask, schedule, lambda: say(warm=True))
    running: Awaitable[object] = loop.run()
    if tick_s:
        ticking = asyncio.create_task(tick(loop, tick_s))
        await running
        ticking.cancel()
    else:
        await running
    say(**loop.outcome.summary(schedule.in_flight))


def main(
    port: Annotated[int, typer.Option(help="Of the server on loopback.")],
    in_flight: Annotated[int, typer.Option(min=1)],
    stagger_s: Annotated[float, typer.Option(help="Workers start spread over it.")] = 0.0,
    window_s: Annotated[float, typer.Option(help="The least time to count.")] = 8.0,
    rounds: Annotated[int, typer.Option(help="The fewest rounds a worker.")] = 3,
    pace_s: Annotated[float, typer.Option(help="The least seconds of a round.")] = 0.0,
    tick_s: Annotated[float, typer.Option(help="0: no ticks.")] = 0.0,
    group_bytes: Annotated[int, typer.Option(help="Size of a group as JSON.")] = 95_000,
    expect: Annotated[str, typer.Option(help="What every good answer holds.")] = '"cached":false',
) -> None:
    """Send groups until every worker has counted its rounds."""
    asker = Asker(port, templates(group_bytes), expect.encode())
    schedule = Schedule(in_flight, stagger_s, window_s, rounds, pace_s)
    uvloop.run(generate(asker, schedule, tick_s))


if __name__ == "__main__":
    typer.run(main)
