"""Half an hour of steady load -> memory, open files and latency over time, and their trend.

As many connections as groups in flight, each asking once in `in_flight / rate` seconds: by default
64 of them make 50 groups a second, of which ten at a time are before a judge of 0.2 s (`rate` 0:
each asks again at once). A group takes the store about 80 kB, which is 7 GB in half an hour: what
is older than `prune_minutes` is deleted as often, by a process beside the service.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import IO, Any

from benchmarks.load.measuring import next_line, started
from benchmarks.load.pruning import pruning
from benchmarks.load.trend import trend
from benchmarks.load.usage import usage
from benchmarks.processes import Running, judge_server, service

LAST = "wall_s"  # what only a load's last line has


@dataclass(frozen=True)
class Soak:
    """Settings of a soak; a sample every `sample_s`, the trend over those after the warm-up."""

    minutes: float = 30.0
    warm_up_minutes: float = 3.0
    in_flight: int = 64
    delay_s: float = 0.2
    rate: float = 50.0
    sample_s: float = 5.0
    workers: int = 1
    prune_minutes: float = 2.0
    group_kb: int = 95

    @property
    def pace_s(self) -> float:
        return self.in_flight / self.rate if self.rate else 0.0

    def command(self, port: str) -> list[str]:
        options = {
            "--port": port,
            "--in-flight": self.in_flight,
            "--stagger-s": max(self.delay_s, self.pace_s),
            "--window-s": 60 * self.minutes,
            "--pace-s": self.pace_s,
            "--tick-s": self.sample_s,
            "--group-bytes": self.group_kb * 1000,
        }
        texts = [text for name, value in options.items() for text in (name, str(value))]
        return [sys.executable, "-m", "benchmarks.load.generator", *texts]


@dataclass(frozen=True)
class Sample:
    """The service at one moment (all its processes), and the groups since the sample before."""

    t_s: float
    rss_mb: float
    fds: int
    cpu_s: float
    store_mb: float
    prunes: int
    groups: int
    p50_ms: float | None
    p99_ms: float | None
    failures: dict[str, int]


def samples(soak: Soak) -> Iterator[Sample]:
    """Run it; a sample as soon as it is taken."""
    with _loaded(soak) as (running, lines):
        store = f"{running.folder}/podium.db"
        with pruning(store, 60 * soak.prune_minutes) as pruner:
            while LAST not in (said := next_line(lines)):
                if "t_s" in said:
                    pruner.tick(said["t_s"])
                    yield _sample(said, running, pruner.done)


@contextmanager
def _loaded(soak: Soak) -> Iterator[tuple[Running, IO[bytes]]]:
    with (
        judge_server(soak.delay_s) as judge,
        service(judge.url, workers=soak.workers) as running,
        started(soak.command(running.url.rpartition(":")[2])) as (_, lines),
    ):
        yield running, lines


def _sample(said: dict[str, Any], running: Running, prunes: int) -> Sample:
    now = usage(running.process)
    return Sample(
        t_s=round(said["t_s"], 3),
        rss_mb=now.rss_mb,
        fds=now.fds,
        cpu_s=round(now.total_cpu_s, 2),
        store_mb=sum(file.stat().st_size for file in running.folder.glob("podium.db*")) / 1e6,
        prunes=prunes,
        groups=said["groups"],
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        failures=said["faults"],
    )


def summary(soak: Soak, taken: Sequence[Sample]) -> dict[str, Any] | None:
    """Return the figures of the samples after the warm-up; None while they are fewer than three."""
    late = [each for each in taken if each.t_s >= 60 * soak.warm_up_minutes]
    if len(late) < 3:
        return None
    rss_mb = [each.rss_mb for each in late]
    edge = max(1, len(late) // 10)
    groups = sum(each.groups for each in late[1:])
    return {
        "seconds": late[-1].t_s - late[0].t_s,
        "groups": groups,
        "groups_per_s": groups / (late[-1].t_s - late[0].t_s),
        "failures": late[-1].failures,
        "rss_mb_per_hour": asdict(trend([each.t_s for each in late], rss_mb)),
        "rss_mb": {"first_tenth": fmean(rss_mb[:edge]), "last_tenth": fmean(rss_mb[-edge:]),
                   "highest": max(rss_mb)},
        "fds": {"first": late[0].fds, "last": late[-1].fds, "most": max(e.fds for e in late)},
        "cpu_ms": 1000 * (late[-1].cpu_s - late[0].cpu_s) / max(1, groups),
        "p99_ms": thirds([each.p99_ms for each in late if each.p99_ms is not None]),
        "store_mb": max(each.store_mb for each in late),
        "prunes": late[-1].prunes,
    }  # fmt: skip


def thirds(p99_ms: Sequence[float]) -> list[float]:
    """Return the median of the samples' p99 in each third of the time."""
    third = max(1, len(p99_ms) // 3)
    return [median(part) for start in (0, third, 2 * third) if (part := p99_ms[start:][:third])]


def found(soak: Soak, taken: Sequence[Sample], machine: dict[str, Any]) -> dict[str, Any]:
    """Return all there is to keep of a run so far."""
    return {
        "machine": machine,
        "soak": asdict(soak),
        "summary": summary(soak, taken),
        "samples": [asdict(each) for each in taken],
    }


def said_so_far(last: Sample) -> str:
    p99 = "-" if last.p99_ms is None else f"{last.p99_ms:.0f} ms"
    return (
        f"{last.t_s / 60:5.1f} min  {last.rss_mb:.1f} MB  {last.fds} files open  p99 {p99}  "
        f"store {last.store_mb:,.0f} MB  {sum(last.failures.values())} failures"
    )
