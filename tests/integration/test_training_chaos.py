"""Servers, service and trainer are killed in turn: no step is lost, and no group is trained twice.

It takes a minute, or PODIUM_CHAOS_S seconds.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Protocol

import httpx
import pytest

from podium_trainer.records.metrics import read_rows
from podium_trainer.records.rollouts.file import NAME, read_lines
from tests.integration.vllm_server import free_port
from tests.service.process import Podium, wait
from tests.trainer.runs import settings, start_process, write_judges
from tests.trainer.samplers.launch import fake_server

pytestmark = pytest.mark.chaos

HOST = "127.0.0.1"
KILLING_S = float(os.environ.get("PODIUM_CHAOS_S", 60.0))
STEPS_AFTER = 5
START_S = 300.0


class Part(Protocol):
    """A process that is killed by SIGKILL, and started again."""

    def start(self) -> None: ...

    def kill(self) -> None: ...


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


class Server:
    """A vLLM server without a model."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self._command = [sys.executable, fake_server.__file__, f"--host={HOST}", f"--port={port}"]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, start_new_session=True)
        wait(lambda: answers(f"{self.url}/health"))

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Service:
    """`podium serve` on one port and one store."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self._folder = folder
        config = str(write_judges(folder))
        store = str(folder / "podium.db")
        self._arguments = ("--port", str(port), "--config", config, "--store", store)

    def start(self) -> None:
        self._process = Podium(("serve", *self._arguments), self._folder, {})
        wait(lambda: self._process.url is not None)

    def kill(self) -> None:
        self._process.kill()


class Run:
    """`podium-train`, which goes on by `--resume`."""

    def __init__(self, folder: Path, service: Service, servers: list[Server]) -> None:
        self.out = folder / "run"
        self._folder = folder
        self._recipe = settings(
            folder, service.url, steps=1_000_000, max_idle_steps=1_000, checkpoint={"every": 4},
            sampler={
                "kind": "vllm", "urls": [server.url for server in servers], "parity_bound": 1e3,
                "max_tokens": 4,
            },
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait for its next row."""
        before = self.num_rows
        self.go_on()
        ends_at = time.monotonic() + START_S
        while self.num_rows <= max(before, 1):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < ends_at, self.log
            time.sleep(0.05)

    def go_on(self, *flags: str) -> None:
        resume = ("--resume",) if (self.out / "config.yaml").exists() else ()
        self.process = start_process(self._recipe, self._folder, *resume, *flags)

    def kill(self) -> None:
        assert self.process.poll() is None, self.log
        self.process.kill()
        self.process.wait()

    @property
    def num_rows(self) -> int:
        path = self.out / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    @property
    def log(self) -> str:
        return (self._folder / "train.log").read_text()[-3000:]


@contextmanager
def started(*parts: Part) -> Iterator[None]:
    """Start all parts, and kill them at the end."""
    up: list[Part] = []
    try:
        for part in parts:
            part.start()
            up.append(part)
        yield
    finally:
        for part in reversed(up):
            part.kill()


def test_a_run_outlives_kills_of_all_its_parts(tmp_path: Path) -> None:
    servers = [Server(free_port()) for _ in range(2)]
    service = Service(tmp_path, free_port())
    run, random, kills = Run(tmp_path, service, servers), Random(7), Counter[str]()
    parts: list[Part] = [*servers, service, run]
    with started(service, *servers):
        run.start()
        ends_at = time.monotonic() + KILLING_S
        try:
            while time.monotonic() < ends_at:
                for part in random.sample(parts, len(parts)):
                    part.kill()
                    kills[type(part).__name__] += 1
                    time.sleep(random.uniform(0.2, 2.0))
                    part.start()
                    time.sleep(random.uniform(0.2, 1.0))
        finally:
            run.process.kill()
            run.process.wait()
        last = run.num_rows - 1 + STEPS_AFTER
        run.go_on("--steps", str(last))
        assert run.process.wait(120) == 0, run.log
    print(f"{last} steps, {sum(kills.values())} kills: {dict(kills)}")
    assert_each_step_is_done_once(run.out, last)


def assert_each_step_is_done_once(out: Path, last: int) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in read_rows(out / "metrics.jsonl")]
    steps = list(range(last + 1))
    assert [row["step"] for row in rows] == steps
    assert [row["step"] for row in read_rows(out / "timings.jsonl")] == steps
    versions = [row["policy_version"] for row in rows]
    learned = [int(row["groups_trained"] > 0) for row in rows[1:]]
    assert [after - before for before, after in pairwise(versions)] == learned
    lines = list(read_lines(out / NAME))
    trained = [line for line in lines if line["is_trained"]]
    assert Counter(line["step"] for line in trained) == Counter(
        {row["step"]: row["groups_trained"] for row in rows if row["groups_trained"]}
    )
    rankings = Counter(line["ranking_id"] for line in trained)
    assert max(rankings.values()) == 1
