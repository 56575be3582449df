"""How fast the past is read and written, in a store of many groups.

    python -m benchmarks.history [--groups 100000] [--repeats 20] [--loads 500] [--quick]

The groups are synthetic, written in bulk: 20 runs of 250 steps, 2% failures, 10% answers from the
store. Each call of the reader and each page is timed `--repeats` times; a page from its request to
its last byte, without a network. Then each page is loaded a tenth of `--loads` times, then the rest
of them, and the memory of the process is told after both. Writing is timed for groups as a service
writes them, with the group as it was sent and without texts (`--no-texts`).
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import psutil
import sqlalchemy as sa
import typer

from podium_service.http.app import create_app
from podium_service.http.service import open_service
from podium_service.schemas import Ranking, RankRequest, TrajectoryResult, Usage
from podium_service.store.asks.ids import AskIds, ask_name
from podium_service.store.asks.records import Ask, write_asks
from podium_service.store.database.tables import ASKS
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import SQLStore, open_store

RUNS, STEPS, SIZE = 20, 250, 8
AT_ONCE = 5000
PAGES = {
    "groups": "/ui",
    "groups of a step": "/ui?run=run-3&step=7",
    "no signal": "/ui?signal=false",
    "longest wins": "/ui?longest_wins=true",
    "a text nowhere": "/ui?q=no+such+text",
    "runs": "/ui/runs",
    "one run": "/ui/runs/run-3",
    "two runs": "/ui/runs/run-3?other=run-4",
    "one prompt": "/ui/prompt?run=run-3&id=p3",
    "judges": "/ui/judges",
    "compare": "/ui/compare",
    "gold": "/ui/gold",
    "failures": "/ui/failures",
    "keys and spend": "/ui/keys",
    "api": "/ui/api",
    "config": "/ui/config",
}
WORDS = ["sum", "of", "two", "numbers", "that", "were", "given", "in", "the", "second", "letter"]


def main(
    groups: Annotated[int, typer.Option(min=1)] = 100_000,
    repeats: Annotated[int, typer.Option(min=1)] = 20,
    loads: Annotated[int, typer.Option(min=10)] = 500,
    written: Annotated[int, typer.Option(min=1)] = 512,
    quick: Annotated[bool, typer.Option("--quick")] = False,
) -> None:
    """Print the times of reading and of writing."""
    if quick:
        groups, repeats, loads, written = 500, 2, 10, 16
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), groups, repeats, loads, written))


async def measure(folder: Path, groups: int, repeats: int, loads: int, written: int) -> None:
    """Fill a store, read it, and write to it and to one without texts."""
    path = folder / "podium.db"
    async with open_store(str(path)) as store:
        last = await fill(store, groups)
        print(f"{groups} groups in {path.stat().st_size / 1e6:.0f} MB")
        for name, read in readers(HistoryReader(store), last).items():
            print(f"{name:<24} {await timed(read, repeats)}")
        print(f"{'write, as sent':<24} {await write(store, written)}")
    await time_pages(str(path), last, repeats, loads)
    async with open_store(str(folder / "bare.db"), keep_texts=False) as store:
        print(f"{'write, without texts':<24} {await write(store, written)}")


def readers(reader: HistoryReader, last: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return the calls that pages make, by name."""
    far = RankingFilters(run="run-0")
    return {
        "newest 50": reader.list_rankings,
        "50 of a run": lambda: reader.list_rankings(far),
        "50 of a step": lambda: reader.list_rankings(RankingFilters(run="run-3", step=7)),
        "50 of a judge": lambda: reader.list_rankings(RankingFilters(judge="judge-1")),
        "50 failures of a kind": lambda: reader.list_rankings(
            RankingFilters(code="judge_unavailable")
        ),
        "50 without signal": lambda: reader.list_rankings(RankingFilters(signal=False)),
        "a text that is nowhere": lambda: reader.list_rankings(RankingFilters(q="no such text")),
        "a flag that is nowhere": lambda: reader.list_rankings(RankingFilters(flag="none")),
        "one ranking": lambda: reader.read_ranking(last),
        "its calls": lambda: reader.read_calls(last),
        "its neighbours": lambda: neighbours(reader, last),
        "runs": reader.list_runs,
        "one run": lambda: reader.read_run("run-3"),
    }


async def time_pages(path: str, last: str, repeats: int, loads: int) -> None:
    """Print how long each page takes on a store, its size, and what many loads of it leave.

    A first request of each page warms it up.
    """
    async with open_service(None, path) as service:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            newest = (await HistoryReader(service.store).list_rankings()).rankings[0].ask
            groups = {"group": last, "group with texts": newest}
            pages = PAGES | {name: f"/ui/rankings/{ask}" for name, ask in groups.items()}
            for name, address in pages.items():
                first = await http.get(address)
                assert first.status_code == 200, address
                took = await timed(partial(http.get, address), repeats)
                print(f"{'page: ' + name:<24} {took}   {len(first.content) / 1000:5.0f} kB")
            for name, address in pages.items():
                few = await load(http, address, loads // 10)
                many = await load(http, address, loads - loads // 10)
                told = f"{few:.1f} MB after {loads // 10} loads, {many:.1f} MB after {loads}"
                print(f"{'memory: ' + name:<28} {told}", flush=True)


async def load(http: httpx.AsyncClient, address: str, times: int) -> float:
    """Load a page several times, and return the memory of this process in MB."""
    for _ in range(times):
        await http.get(address)
    return float(psutil.Process().memory_info().rss) / 1e6


async def neighbours(reader: HistoryReader, ask: str) -> None:
    """Read what comes before and after a ranking of the same prompt."""
    detail = await reader.read_ranking(ask)
    assert detail
    await reader.list_neighbours(detail.summary)


async def timed(read: Callable[[], Awaitable[Any]], repeats: int) -> str:
    """Return how long some calls took: by the clock, which others disturb, and of the CPU."""
    walls, cpus = [], []
    for _ in range(repeats):
        started, cpu = time.perf_counter(), time.process_time()
        await read()
        walls.append(1000 * (time.perf_counter() - started))
        cpus.append(1000 * (time.process_time() - cpu))
    p50, p95 = percentile(walls, 0.5), percentile(walls, 0.95)
    return f"p50 {p50:8.1f} ms   p95 {p95:8.1f} ms   CPU p95 {percentile(cpus, 0.95):8.1f} ms"


def percentile(values: list[float], share: float) -> float:
    """Return the value below which this share of them is."""
    return sorted(values)[int(share * (len(values) - 1))]


async def fill(store: SQLStore, groups: int) -> str:
    """Write groups in bulk, and return the name of the newest ask."""
    draw, ids = random.Random(0), AskIds()
    rows: list[dict[str, Any]] = []
    first = time.time() - groups
    last = 0
    for number in range(groups):
        last = ids.next(first + number)
        rows.append(row(draw, last, number, groups))
        if len(rows) == AT_ONCE or number == groups - 1:
            await store.run_in_transaction(partial(insert, rows))
            rows = []
    return ask_name(last)


def insert(rows: list[dict[str, Any]], connection: sa.Connection) -> None:
    """Insert rows of asks."""
    connection.execute(sa.insert(ASKS), rows)


def row(draw: random.Random, ask: int, number: int, groups: int) -> dict[str, Any]:
    """Return the row of one request, as a service would have written it."""
    failed, per_run = draw.random() < 0.02, max(1, groups // RUNS)
    rewards = sorted(draw.random() for _ in range(SIZE))
    if draw.random() < 0.03:
        rewards = [0.5] * SIZE
    code = draw.choice(["judge_unavailable", "verdict_invalid", "deadline_exceeded"])
    return {
        "id": ask,
        "ranking_id": f"rk_{draw.getrandbits(80):020x}",
        "run": f"run-{number // per_run}",
        "step": (number % per_run) * STEPS // per_run,
        "group_id": f"step-{number % per_run}/prompt-{number % 64}",
        "prompt_id": f"p{draw.randrange(64)}",
        "judge": f"judge-{draw.randrange(3)}",
        "code": code if failed else None,
        "kind": None,
        "win_rate": None,
        "verified": None,
        "cached": draw.random() < 0.1,
        "reliability": None if failed else draw.random(),
        "spread": None if failed else rewards[-1] - rewards[0],
        "ties": None if failed else 0.0,
        "agreement": None,
        "mean_score": None if failed else draw.random(),
        "mean_length": 900 * draw.random(),
        "truncated": draw.randrange(2),
        "longest_wins": None if failed else draw.random() < 0.3,
        "check_disagrees": None,
        "latency_s": draw.random(),
        "cost_usd": 0.001 * draw.random(),
        "tokens": draw.randrange(9000),
        "num_trajectories": SIZE,
        "model": "gpt-5-mini",
        "method": "listwise",
        "passes": 2,
        "api_key_id": None,
        "request_id": f"{draw.getrandbits(64):016x}",
        "prompt": " ".join(draw.choices(WORDS, k=36)),
        "flags": None,
        "ids": orjson.dumps([f"t{index}" for index in range(SIZE)]),
        "rewards": None if failed else orjson.dumps(rewards),
        "lengths": orjson.dumps([draw.randrange(2000) for _ in range(SIZE)]),
        "problem": orjson.dumps({"detail": "main: no"}) if failed else None,
        "metadata": orjson.dumps({"run": "r", "step": 1}),
        "calls": None,
        "transcript": None,
        "answer": None,
    }


async def write(store: SQLStore, groups: int) -> str:
    """Write groups of 8 attempts of 1.5 kB as the pipeline does, 32 at a time."""
    draw, ids = random.Random(1), AskIds()
    asks = [ask_of(draw, ids, number) for number in range(groups)]
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, groups, 32):
        await asyncio.gather(*(store.add_ranking(ask) for ask in asks[first : first + 32]))
    wall_ms = 1000 * (time.perf_counter() - started) / groups
    cpu_ms = 1000 * (time.process_time() - cpu) / groups
    rows = write_asks({ASKS: [{"id": asks[0].id, "ask": asks[0]}]}, keep_texts=store.keeps_texts)
    cells = [cell for some in rows.values() for cell in some[0].values()]
    kept_kb = sum(len(cell) for cell in cells if isinstance(cell, bytes)) / 1000
    return f"{wall_ms:.2f} ms a group, {cpu_ms:.2f} ms of CPU, {kept_kb:.1f} kB in columns of bytes"


def ask_of(draw: random.Random, ids: AskIds, number: int) -> Ask:
    """Return a request for a ranking that cost two calls."""
    prompt = {"role": "user", "content": " ".join(draw.choices(WORDS, k=200))}
    trajectories = [
        {
            "id": f"t{index}",
            "messages": [
                prompt,
                {"role": "assistant", "content": " ".join(draw.choices(WORDS, k=300))},
            ],
        }
        for index in range(SIZE)
    ]
    request = RankRequest.model_validate(
        {"trajectories": trajectories, "metadata": {"run": "w", "step": number // 8}}
    )
    results = [
        TrajectoryResult(
            id=f"t{index}", rank=index + 1, reward=draw.random(), score=0.5, stderr=0.1
        )
        for index in range(SIZE)
    ]
    usage = Usage(calls=2, prompt_tokens=4000, completion_tokens=80, cost_usd=0.001)
    ranking = Ranking(
        id=f"rk_{draw.getrandbits(80):020x}", group_id=None, judge="main", model="m",
        method="listwise", passes=2, results=results, reliability=0.8, cached=False, usage=usage,
    )  # fmt: skip
    key = f"{draw.getrandbits(256):064x}"
    return Ask(
        ids.next(), request, ranking, "main", key, {key: list(range(SIZE))}, usage, latency_s=1.0
    )


if __name__ == "__main__":
    typer.run(main)
