"""Time the calls of the reader, the pages, and the writing of groups."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from benchmarks.history.content import JUDGES, ask_of, fill
from podium_service.http.app import create_app
from podium_service.http.service import open_service
from podium_service.store.asks.ids import AskIds
from podium_service.store.asks.records import write_asks
from podium_service.store.database.tables import ASKS
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.reader import HistoryReader
from podium_service.store.store import SQLStore, open_store

Figures = dict[str, Any]
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


async def measure(
    folder: Path, groups: int, repeats: int, loads: int, written: int, *, url: str | None = None
) -> Figures:
    """Fill a store, read it, and write to it and to one without texts; print all, and return it.

    Args:
        url: an empty database; None for SQLite in the folder.
    """
    store_url = url or str(folder / "podium.db")
    found: Figures = {"groups": groups, "reads": {}, "writes": {}}
    async with open_store(store_url) as store:
        last = await fill(store, groups)
        if url is not None:  # which PostgreSQL does by itself within a minute
            await store.run_in_transaction(analyze)
        found["mb"] = await size_mb(store, folder, url)
        print(f"{groups} groups in {found['mb']:.0f} MB")
        for name, read in readers(HistoryReader(store), last).items():
            figures = found["reads"][name] = await timed(read, repeats)
            print(f"{name:<24} {told(figures)}", flush=True)
        found["writes"]["as sent"] = await write(store, written)
    found["pages"] = await time_pages(folder, store_url, last, repeats, loads)
    async with open_store(url or str(folder / "bare.db"), keep_texts=False) as store:
        found["writes"]["without texts"] = await write(store, written)
    for name, figures in found["writes"].items():
        print(
            f"write, {name:<17} {figures['ms']:.2f} ms a group, {figures['cpu_ms']:.2f} ms of CPU, "
            f"{figures['kb']:.1f} kB in columns of bytes"
        )
    return found


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


def analyze(connection: sa.Connection) -> None:
    """Let the database count its rows, by which it plans queries."""
    connection.execute(sa.text("ANALYZE"))


async def size_mb(store: SQLStore, folder: Path, url: str | None) -> float:
    """Return the size of a database in MB."""
    if url is None:
        return (folder / "podium.db").stat().st_size / 1e6
    size = sa.select(sa.func.pg_database_size(sa.func.current_database()).label("bytes"))
    return float((await store.select(size))[0].bytes) / 1e6


def write_judges(folder: Path) -> Path:
    """Write a judges file with the judges of the store, none of which is asked."""
    judges = {
        name: {"model": "gpt-5-mini", "base_urls": ["http://127.0.0.1:9/v1"]} for name in JUDGES
    }
    file = folder / "judges.yaml"
    file.write_text(json.dumps({"default_judge": JUDGES[0], "judges": judges}))
    return file


async def time_pages(
    folder: Path, store_url: str, last: str, repeats: int, loads: int
) -> dict[str, Figures]:
    """Print and return how long each page takes, its size, and what many loads of it leave.

    A first request of each page warms it up.
    """
    found: dict[str, Figures] = {}
    async with open_service(write_judges(folder), store_url) as service:
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            reader = HistoryReader(service.store)
            newest = (await reader.list_rankings()).rankings[0].ask
            failed = (await reader.list_rankings(RankingFilters(outcome="failed"))).rankings[0].ask
            groups = {"group": last, "group with texts": newest, "failed group": failed}
            pages = PAGES | {name: f"/ui/rankings/{ask}" for name, ask in groups.items()}
            for name, address in pages.items():
                first = await http.get(address)
                assert first.status_code == 200, address
                figures = await timed(partial(http.get, address), repeats)
                found[name] = figures | {"kb": len(first.content) / 1000}
                print(f"{'page: ' + name:<24} {told(figures)}   {found[name]['kb']:5.0f} kB")
            for name, address in pages.items():
                few = await load(http, address, loads // 10)
                many = await load(http, address, loads - loads // 10)
                found[name]["memory_mb"] = {str(loads // 10): few, str(loads): many}
                text = f"{few:.1f} MB after {loads // 10} loads, {many:.1f} MB after {loads}"
                print(f"{'memory: ' + name:<28} {text}", flush=True)
    return found


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


async def timed(read: Callable[[], Awaitable[Any]], repeats: int) -> Figures:
    """Return how long some calls took: by the clock, which others disturb, and of the CPU."""
    walls, cpus = [], []
    for _ in range(repeats):
        started, cpu = time.perf_counter(), time.process_time()
        await read()
        walls.append(1000 * (time.perf_counter() - started))
        cpus.append(1000 * (time.process_time() - cpu))
    return {
        "p50_ms": percentile(walls, 0.5),
        "p95_ms": percentile(walls, 0.95),
        "cpu_p95_ms": percentile(cpus, 0.95),
    }


def told(figures: Figures) -> str:
    """Return times in words."""
    return (
        f"p50 {figures['p50_ms']:8.1f} ms   p95 {figures['p95_ms']:8.1f} ms   "
        f"CPU p95 {figures['cpu_p95_ms']:8.1f} ms"
    )


def percentile(values: list[float], share: float) -> float:
    """Return the value below which this share of them is."""
    return sorted(values)[int(share * (len(values) - 1))]


async def write(store: SQLStore, groups: int) -> Figures:
    """Write groups of 8 attempts of 1.5 kB as the pipeline does, 32 at a time."""
    draw, ids = random.Random(f"write {store.keeps_texts}"), AskIds()
    asks = [ask_of(draw, ids, number) for number in range(groups)]
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, groups, 32):
        await asyncio.gather(*(store.add_ranking(ask) for ask in asks[first : first + 32]))
    wall_ms = 1000 * (time.perf_counter() - started) / groups
    cpu_ms = 1000 * (time.process_time() - cpu) / groups
    rows = write_asks({ASKS: [{"id": asks[0].id, "ask": asks[0]}]}, keep_texts=store.keeps_texts)
    cells = [cell for some in rows.values() for cell in some[0].values()]
    kept_kb = sum(len(cell) for cell in cells if isinstance(cell, bytes)) / 1000
    return {"ms": wall_ms, "cpu_ms": cpu_ms, "kb": kept_kb}
