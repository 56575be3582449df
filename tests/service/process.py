"""Run `podium` in its own processes, with real sockets, signals and exit codes.

Importing the service takes seconds, so one process does it once. The processes of the tests are
forked from it, and call `podium_service.__main__.main` as `python -m podium_service` does.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.fakes import until
from tests.service.helpers import judges_file

START_S = 60.0
# Set before the first process starts, because glibc keeps more memory the more cores there are.
os.environ.setdefault("MALLOC_ARENA_MAX", "2")
_FORKS = multiprocessing.get_context("forkserver")
# Commands import these inside their functions; a fork that has them already starts 2 s sooner.
_FORKS.set_forkserver_preload(
    [
        "podium_service.cli.main",
        "podium_service.cli.display.evaluation",
        "podium_service.cli.remote",
        "podium_service.evaluation.calibrate",
        "podium_service.evaluation.compare",
        "podium_service.http.server.supervisor",
    ]
)
_NAMES = count()


class Podium:
    """One run of `podium ARGUMENTS`. Its output goes to files, so that it never blocks."""

    def __init__(self, arguments: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> None:
        self.cwd = cwd
        self._stem = cwd / f"podium-{next(_NAMES)}"
        self._process = _FORKS.Process(
            target=_be_podium, args=(arguments, cwd, environment, self._stem), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Negative for the number of a signal; None while it runs."""
        return self._process.exitcode

    @property
    def out(self) -> str:
        return _read(self._stem.with_suffix(".out"))

    @property
    def err(self) -> str:
        return _read(self._stem.with_suffix(".err"))

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The complete lines of its log, parsed."""
        whole, _, _ = self.err.rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def url(self) -> str | None:
        """The URL in its log; None before it serves."""
        whole, _, _ = self.err.rpartition("\n")
        for line in whole.splitlines():
            if '"listening"' in line:
                return str(json.loads(line)["url"])
        return None

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.logs if line["event"] == event]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process by SIGKILL, and wait for its end."""
        self._process.kill()
        self._process.join()

    async def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        await until(lambda: self.exit_code is not None, START_S)
        assert self.exit_code is not None
        return self.exit_code

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        assert self.url
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, trust_env=False, timeout=20
        ) as client:
            yield client


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


@contextmanager
def running(*arguments: str, cwd: Path, **environment: str) -> Iterator[Podium]:
    """Run `podium serve --port 0 ARGUMENTS`, and yield it once it serves; kill it at the end."""
    process = Podium(("serve", "--port", "0", *arguments), cwd, environment)
    try:
        wait(lambda: process.url is not None or process.exit_code is not None)
        assert process.url, f"podium serve did not start: {process.err}"
        yield process
    finally:
        process.kill()


@asynccontextmanager
async def running_with(
    tmp_path: Path, **judges: dict[str, Any]
) -> AsyncIterator[tuple[httpx.AsyncClient, Podium]]:
    """Yield a client of a service in its own process, and the process."""
    config = judges_file(tmp_path / "judges.yaml", **judges)
    with running("--config", str(config), cwd=tmp_path) as process:
        async with process.client() as http:
            yield http, process


async def podium(*arguments: str, cwd: Path, stdin: str = "", **environment: str) -> Finished:
    """Run `podium ARGUMENTS` to its end."""
    (cwd / "stdin").write_text(stdin)
    process = Podium(arguments, cwd, environment)
    try:
        code = await process.ended()
        return Finished(code, process.out, process.err)
    finally:
        process.kill()


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended; a zombie has, because some containers reap none."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _be_podium(
    arguments: tuple[str, ...], cwd: Path, environment: dict[str, str], stem: Path
) -> None:
    """Do in the forked process what `python -m podium_service ARGUMENTS` does."""
    os.chdir(cwd)
    for name in [name for name in os.environ if name.startswith("PODIUM_")]:
        del os.environ[name]
    os.environ.update({"COLUMNS": "200", "TERM": "dumb"} | environment)
    stdin = cwd / "stdin"
    sys.stdin = _redirect(0, stdin if stdin.exists() else Path(os.devnull), "r")
    sys.stdout = _redirect(1, stem.with_suffix(".out"), "w")
    sys.stderr = _redirect(2, stem.with_suffix(".err"), "w")
    sys.argv = ["podium", *arguments]
    from podium_service.__main__ import (
        main,  # only here: the tests' own process need not pay for it
    )

    main()


def _redirect(descriptor: int, path: Path, mode: str) -> Any:
    with path.open(mode) as opened:
        os.dup2(opened.fileno(), descriptor)
    return os.fdopen(descriptor, mode, buffering=1, encoding="utf-8", closefd=False)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def wait(condition: Callable[[], bool], at_most_s: float = START_S) -> None:
    """Wait for a condition, in code without an event loop."""
    ends_at = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < ends_at, "it took too long"
        time.sleep(0.01)


async def in_flight(client: httpx.AsyncClient) -> float:
    """Return the number of judge calls in progress, from the service's metrics."""
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("podium_judge_in_flight{"))
