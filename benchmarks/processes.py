"""What a benchmark starts beside itself, each a process on a free port of the loopback address.

    with judge_server(1.0) as judge, service(judge.url) as podium: ...

`judge.url` is an OpenAI base URL, `podium.url` the service's. To add one: a context manager that
starts it within `started` and yields where it listens.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import psutil

# The queue of the judge is not what these benchmarks measure: it takes whatever they send.
JUDGES = """\
default_judge: main
judges:
  main: {{model: scripted, base_urls: ["{url}"], passes: 1, audit: 0,
         context_tokens: 131072, concurrency: {concurrency}}}
"""
PATIENCE_S = 60.0
LISTENING = re.compile(r"http://127\.0\.0\.1:\d+")
_opener = build_opener(ProxyHandler({}))


def judges_file(url: str, concurrency: int = 2048) -> str:
    """Write a judges file for a scripted judge, which takes so many calls at a time."""
    return JUDGES.format(url=url, concurrency=concurrency)


@dataclass(frozen=True)
class Running:
    """A process that answers at `url`; what it keeps lies in `folder`."""

    url: str
    process: psutil.Process
    folder: Path


@contextmanager
def judge_server(delay_s: float) -> Iterator[Running]:
    """Run a scripted judge."""
    command = [sys.executable, "-m", "benchmarks.judge_server", "--port", "0"]
    process = subprocess.Popen([*command, "--delay-s", str(delay_s)], stdout=subprocess.PIPE)
    with ended(process):
        assert process.stdout
        port = json.loads(process.stdout.readline())["port"]
        url = f"http://127.0.0.1:{port}/v1"
        yield Running(url, psutil.Process(process.pid), Path())


@contextmanager
def service(judge_url: str, *, workers: int = 1, concurrency: int = 2048) -> Iterator[Running]:
    """Run `podium serve` as a user starts it, its store a SQLite file.

    Args:
        judge_url: the OpenAI base URL of its judge.
        workers: its processes.
        concurrency: calls to the judge at a time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "judges.yaml").write_text(judges_file(judge_url, concurrency))
        command = [
            sys.executable,
            "-P",
            "-m",
            "podium_service",
            "serve",
            "--port",
            "0",
            "--drain-s",
            "0",
        ]
        command += ["--config", f"{folder}/judges.yaml", "--store", f"{folder}/podium.db"]
        command += ["--workers", str(workers)] if workers > 1 else []
        with _started(command, folder) as running:
            _await_ready(f"{running.url}/readyz")
            yield running


@contextmanager
def plain_handler(judge_url: str) -> Iterator[Running]:
    """Run `benchmarks.plain_handler` under uvicorn."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "benchmarks.plain_handler", "--judge-url", judge_url]
        with _started(command, Path(name)) as running:
            yield running


@contextmanager
def _started(command: Sequence[str], folder: Path) -> Iterator[Running]:
    """Start a server that logs where it listens; its log goes to a file."""
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    with ended(process):
        yield Running(_listening_url(log), psutil.Process(process.pid), folder)


def _listening_url(log: Path) -> str:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        if found := LISTENING.search(log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"no server came up within {PATIENCE_S:g} s: {log.read_text()}")


def _await_ready(url: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            with _opener.open(url, timeout=5):
                return
        except URLError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process at the exit of the block, whatever happens, and wait for it."""
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()
