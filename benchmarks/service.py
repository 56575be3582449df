"""What the service costs and adds: CPU per group, latency, throughput, memory; RULER beside it.

    python -m benchmarks.service [--quick] [--ruler-python PYTHON] [--json FILE]

Three processes on loopback: a scripted judge, `podium serve` with its store on, and this one, which
sends groups of 8 trajectories x 10 messages (about 95 kB) over raw sockets. `passes: 1`. CPU is
that of the service's process, all threads. `--ruler-python` names an environment with
`openpipe-art` and `litellm`; the same groups then go through its `ruler_score_group` against the
same judge server, in turn with ours.
"""

import asyncio
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.groups import synthetic_groups

MARK = b"@MARK@"
BASE_GROUPS = 64
JUDGES = """\
default_judge: main
judges:
  main: {{model: scripted, base_urls: ["{url}"], passes: 1, context_tokens: 131072}}
"""


@dataclass(frozen=True)
class Row:
    """One run. `cpu_ms` and latencies are per group; `ideal` is in_flight / delay_s, if any."""

    what: str
    kb: int
    delay_s: float
    in_flight: int
    groups: int
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    groups_per_s: float
    ideal_share: float | None
    rss_mb: float


def main(
    quick: Annotated[bool, typer.Option(help="A tenth of the groups.")] = False,
    ruler_python: Annotated[Path | None, typer.Option(help="Has openpipe-art.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Run all rows and print them as a table."""
    scale = 0.1 if quick else 1.0
    rows: list[Row] = []
    plan = [  # (kB, judge's delay, in flight, groups)
        (95, 0.0, 1, int(500 * scale)),
        (95, 0.0, 64, int(3000 * scale)),
        (30, 0.0, 64, int(3000 * scale)),
        (95, 1.0, 64, 64 * max(3, int(20 * scale))),
    ]
    for kb, delay_s, in_flight, groups in plan:
        with judge_server(delay_s) as url:
            rows.append(ours(kb, url, delay_s, in_flight, groups))
            if ruler_python:
                rows.append(rulers(ruler_python, kb, url, delay_s, in_flight, groups // 4))
    with judge_server(0.0) as url:
        rows.append(ours(95, url, 0.0, 64, int(10_000 * scale)))
    show(rows)
    if json_file:
        report = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        json_file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def ours(kb: int, judge_url: str, delay_s: float, in_flight: int, groups: int) -> Row:
    """Rank `groups` groups by a service of its own."""
    bodies = templates(kb * 1000)
    with service(judge_url) as (port, process):
        asyncio.run(load(port, bodies, in_flight, in_flight * 2, "warm"))
        cpu_before = cpu_s(process)
        started = time.perf_counter()
        latencies = asyncio.run(load(port, bodies, in_flight, groups, "run"))
        wall_s = time.perf_counter() - started
        cpu = cpu_s(process) - cpu_before
        rss_mb = process.memory_info().rss / 1e6
    return row("podium", kb, delay_s, in_flight, groups, cpu, latencies, wall_s, rss_mb)


def rulers(
    python: Path, kb: int, judge_url: str, delay_s: float, in_flight: int, groups: int
) -> Row:
    """The same by RULER, in process, in its own environment."""
    groups = max(groups, in_flight * 2)
    with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
        for group in synthetic_groups(BASE_GROUPS, group_bytes=kb * 1000):
            file.write(orjson.dumps(group) + b"\n")
        file.flush()
        command = [str(python), str(Path(__file__).with_name("ruler_peer.py")), "--groups"]
        command += [file.name, "--judge-url", judge_url, "--in-flight", str(in_flight)]
        command += ["--num-groups", str(groups)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout.splitlines()[-1])
    ideal = in_flight / delay_s if delay_s else None
    return Row(
        what="ruler (in process)",
        kb=kb,
        delay_s=delay_s,
        in_flight=in_flight,
        groups=said["groups"],
        cpu_ms=said["cpu_ms_per_group"],
        p50_ms=said["p50_ms"] - 1000 * delay_s,
        p99_ms=said["p99_ms"] - 1000 * delay_s,
        groups_per_s=said["groups_per_s"],
        ideal_share=said["groups_per_s"] / ideal if ideal else None,
        rss_mb=said["rss_mb"],
    )


def row(
    what: str, kb: int, delay_s: float, in_flight: int, groups: int, cpu: float,
    latencies: list[float], wall_s: float, rss_mb: float,
) -> Row:  # fmt: skip
    latencies.sort()
    ideal = in_flight / delay_s if delay_s else None
    return Row(
        what=what,
        kb=kb,
        delay_s=delay_s,
        in_flight=in_flight,
        groups=groups,
        cpu_ms=1000 * cpu / groups,
        p50_ms=1000 * (latencies[len(latencies) // 2] - delay_s),
        p99_ms=1000 * (latencies[int(len(latencies) * 0.99)] - delay_s),
        groups_per_s=groups / wall_s,
        ideal_share=groups / wall_s / ideal if ideal else None,
        rss_mb=rss_mb,
    )


def templates(group_bytes: int) -> list[list[bytes]]:
    """Bodies cut where each trajectory takes a mark that makes its group a new one."""
    bodies = []
    for group in synthetic_groups(BASE_GROUPS, group_bytes=group_bytes):
        for trajectory in group["trajectories"]:
            last = trajectory["messages"][-1]
            last["content"] = f"{last['content']} {MARK.decode()}"
        bodies.append(orjson.dumps(group).split(MARK))
    return bodies


async def load(
    port: int, bodies: list[list[bytes]], in_flight: int, groups: int, run: str
) -> list[float]:
    """Send `groups` new groups, `in_flight` at a time; seconds of each. Any failure ends it."""
    numbers = iter(range(groups))
    seconds: list[float] = []

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        for number in numbers:
            body = f"{run}-{number}".encode().join(bodies[number % len(bodies)])
            started = time.perf_counter()
            writer.write(
                b"POST /rank HTTP/1.1\r\nhost: podium\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(size)
            seconds.append(time.perf_counter() - started)
            if not head.startswith(b"HTTP/1.1 200") or b'"cached":false' not in answer:
                raise RuntimeError(f"not ranked afresh: {answer[:300]!r}")
        writer.close()

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return seconds


@contextmanager
def judge_server(delay_s: float) -> Iterator[str]:
    """A scripted judge on a free port."""
    command = [sys.executable, "-m", "benchmarks.judge_server", "--port", "0"]
    process = subprocess.Popen([*command, "--delay-s", str(delay_s)], stdout=subprocess.PIPE)
    with ended(process):
        assert process.stdout
        port = json.loads(process.stdout.readline())["port"]
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def service(judge_url: str) -> Iterator[tuple[int, psutil.Process]]:
    """`podium serve` as a user starts it, logging to a file."""
    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "judges.yaml", Path(folder) / "log"
        config.write_text(JUDGES.format(url=judge_url))
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--drain-s", "0"]
        command += ["--config", str(config), "--store", f"{folder}/podium.db"]
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr)
        with ended(process):
            yield listening_port(log), psutil.Process(process.pid)


def listening_port(log: Path, patience_s: float = 60.0) -> int:
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start: {log.read_text()}")


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def machine() -> dict[str, Any]:
    """What a figure must name: where, when and with what it was measured."""
    names = ("openai", "fastapi", "uvicorn", "pydantic", "sqlalchemy")
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((ln.split(": ")[1] for ln in lines if ln.startswith("model name")), "unknown")


def show(rows: list[Row]) -> None:
    table = Table(title=json.dumps(machine()), title_justify="left")
    names = "what kB delay in_flight groups cpu_ms p50_added p99_added groups/s of_ideal rss_MB"
    for name in names.split():
        table.add_column(name, justify="right")
    for each in rows:
        table.add_row(
            each.what,
            str(each.kb),
            f"{each.delay_s:g} s",
            str(each.in_flight),
            str(each.groups),
            f"{each.cpu_ms:.2f}",
            f"{each.p50_ms:.1f} ms",
            f"{each.p99_ms:.1f} ms",
            f"{each.groups_per_s:.1f}",
            f"{each.ideal_share:.3f}" if each.ideal_share else "",
            f"{each.rss_mb:.0f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    typer.run(main)
