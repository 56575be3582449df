"""A ranker at work, a judge and a load on it -> a row.

To add a ranker: a function (cell, judge) -> Row that starts it and hands it to `measured`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson
import psutil

from benchmarks.groups import synthetic_groups
from benchmarks.load.connection import BASE_GROUPS
from benchmarks.load.row import Cell, Row, Spent, row
from benchmarks.load.usage import machine_busy_s, usage
from benchmarks.processes import Running, ended, plain_handler, service


def podium(cell: Cell, judge: Running, *, workers: int = 1) -> Row:
    what = "podium" if workers == 1 else f"podium, {workers} workers"
    with service(judge.url, workers=workers) as running:
        return measured(what, cell, judge, load_command(cell, running.url), running.process)


def plain(cell: Cell, judge: Running) -> Row:
    with plain_handler(judge.url) as running:
        command = load_command(cell, running.url, expect='"rewards":')
        return measured("plain FastAPI", cell, judge, command, running.process)


def ruler(python: Path, cell: Cell, judge: Running) -> Row:
    """Measure RULER in process, in its own environment."""
    with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
        for group in synthetic_groups(BASE_GROUPS, group_bytes=cell.group_kb * 1000):
            file.write(orjson.dumps(group) + b"\n")
        file.flush()
        command = [str(python), "-m", "benchmarks.ruler_peer", "--groups", file.name]
        command += ["--judge-url", judge.url, *schedule_options(cell)]
        return measured("RULER, in process", cell, judge, command, None)


def load_command(cell: Cell, url: str, *, expect: str | None = None) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.load.generator", "--port", url.rpartition(":")[2]]
    command += ["--group-bytes", str(cell.group_kb * 1000), *schedule_options(cell)]
    return command + (["--expect", expect] if expect else [])


def schedule_options(cell: Cell) -> list[str]:
    options = {
        "--in-flight": cell.in_flight,
        "--stagger-s": cell.delay_s,
        "--window-s": cell.window_s,
        "--rounds": cell.rounds,
    }
    return [text for name, value in options.items() for text in (name, str(value))]


def measured(
    what: str, cell: Cell, judge: Running, command: Sequence[str], ranker: psutil.Process | None
) -> Row:
    """Run the load; CPU is what was spent between its first line and its last.

    Without `ranker` the load ranks by itself.
    """
    with started(command) as (process, lines):
        load = psutil.Process(process.pid)
        ranker = ranker or load
        three = (ranker, judge.process, load)
        next_line(lines)
        busy_s, before = machine_busy_s(), [usage(each) for each in three]
        said = next_line(lines)
        busy_s, after = machine_busy_s() - busy_s, [usage(each) for each in three]
        ours, judges, loads = (new.since(old) for new, old in zip(after, before, strict=True))
        apart = 0.0 if ranker is load else sum(loads)
        others = max(0.0, busy_s - sum(ours) - sum(judges) - apart)
        return row(what, cell, said, Spent(ours, sum(judges), apart, others), after[0])


@contextmanager
def started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a load, and yield the lines it says."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with ended(process):
        assert process.stdout
        yield process, process.stdout


def next_line(lines: IO[bytes]) -> dict[str, Any]:
    """Return what a load says next.

    Raises:
        RuntimeError: If it ended instead.
    """
    line = lines.readline()
    if not line:
        raise RuntimeError("the load ended early; its error is above")
    said: dict[str, Any] = json.loads(line)
    return said
