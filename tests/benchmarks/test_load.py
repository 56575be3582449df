import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.load.rounds import ClosedLoop, Outcome, Schedule
from benchmarks.load.trend import trend

BENCHMARK = [sys.executable, "-m", "benchmarks.load"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


async def run_loop(ask: Any, schedule: Schedule) -> Outcome:
    return await ClosedLoop(ask, schedule, lambda: None).run()


@pytest.mark.anyio
async def test_a_judge_without_overhead_gives_the_ideal_of_littles_law() -> None:
    taken_s = []

    async def ask(worker: int, number: int) -> str | None:
        started = time.perf_counter()
        await asyncio.sleep(0.05)
        taken_s.append(time.perf_counter() - started)
        return None

    outcome = await run_loop(ask, Schedule(in_flight=8, stagger_s=0.05, window_s=0.2))
    said: dict[str, Any] = outcome.summary(8)
    assert 0.8 * 8 / max(taken_s) < said["groups_per_s"] <= 8 / 0.05
    assert said["groups"] >= 8 * 3
    assert said["answered"] >= said["groups"]


@pytest.mark.anyio
async def test_workers_start_spread_over_the_judges_delay() -> None:
    loop = asyncio.get_running_loop()
    began: dict[int, float] = {}

    async def ask(worker: int, number: int) -> str | None:
        began.setdefault(worker, loop.time())
        await asyncio.sleep(0.08)
        return None

    started = loop.time()
    await run_loop(ask, Schedule(in_flight=4, stagger_s=0.08, window_s=0, rounds=1))
    for worker in range(4):
        assert began[worker] - started >= 0.02 * worker - 0.005


@pytest.mark.anyio
async def test_a_paced_worker_asks_no_sooner_than_its_pace() -> None:
    async def ask(worker: int, number: int) -> str | None:
        return None

    outcome = await run_loop(ask, Schedule(1, stagger_s=0, window_s=0, rounds=4, pace_s=0.03))
    assert outcome.worker_s >= 4 * 0.03


@pytest.mark.anyio
async def test_failures_are_counted_by_cause_and_not_as_throughput() -> None:
    async def ask(worker: int, number: int) -> str | None:
        await asyncio.sleep(0.001)
        return "503 busy" if number % 2 else None

    outcome = await run_loop(ask, Schedule(1, stagger_s=0, window_s=0, rounds=4, pause_s=0))
    assert len(outcome.latencies) == 2
    assert outcome.faults["503 busy"] >= 2


def test_memory_growth_is_scaled_to_an_hour() -> None:
    times_s = [60.0 * minute for minute in range(30)]
    exact = trend(times_s, [200.0 + minute for minute in range(30)])
    assert exact.per_hour == pytest.approx(60)
    assert exact.stderr == pytest.approx(0, abs=1e-6)


def test_the_trend_of_flat_memory_is_within_its_error() -> None:
    rng = np.random.default_rng(7)
    times_s = np.arange(324) * 5.0
    walks, misses = 200, 0
    for _ in range(walks):
        noise = np.zeros(324)
        for at in range(1, 324):
            noise[at] = 0.6 * noise[at - 1] + rng.normal()
        found = trend(times_s.tolist(), (200 + noise).tolist())
        misses += abs(found.per_hour) > 2 * found.stderr
    assert misses <= 0.1 * walks  # about one in twenty; without the widening, one in three


@pytest.mark.benchmark
def test_a_soak_samples_memory_and_files_and_ranks_every_group(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    command = [*BENCHMARK, "soak", "--minutes", "0.4", "--warm-up-minutes", "0.03"]
    command += [
        "--in-flight",
        "8",
        "--rate",
        "10",
        "--sample-s",
        "0.5",
        "--prune-minutes",
        "0.02",
        "--json",
        str(file),
    ]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    said = json.loads(file.read_bytes())
    assert len(said["samples"]) >= 8
    assert said["summary"]["failures"] == {}
    assert 3 < said["summary"]["groups_per_s"] < 10.5
    assert said["summary"]["fds"]["most"] > 8
    assert said["summary"]["rss_mb"]["highest"] > 50
    assert said["summary"]["prunes"] >= 1


@pytest.mark.benchmark
def test_the_quick_run_measures_the_service_and_a_peer(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    subprocess.run([*BENCHMARK, "--quick", "--json", str(file)], check=True, env=ENVIRONMENT)
    rows = json.loads(file.read_bytes())["rows"]
    assert {row["what"] for row in rows} == {"podium", "podium, 2 workers", "plain FastAPI"}
    for row in rows:
        assert row["failures"] == {}
        assert 0 < row["ideal_share"] <= 1.01
        assert row["cpu_ms"] > 0
        assert row["p99_added_ms"] >= row["p50_added_ms"] > 0
