"""A process and all its children -> what they have used."""

from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """The usage of a tree of processes at one moment; `cpu_s` by process, the parent first."""

    cpu_s: dict[int, float]
    rss_mb: float
    fds: int

    @property
    def total_cpu_s(self) -> float:
        return sum(self.cpu_s.values())

    def since(self, before: "Usage") -> list[float]:
        """Return CPU seconds of each process since an earlier usage."""
        return [spent - before.cpu_s.get(pid, 0.0) for pid, spent in self.cpu_s.items()]


def machine_busy_s() -> float:
    """Return CPU seconds of all cores that someone, or another guest of the host, has used."""
    times = psutil.cpu_times()
    # What ran in guests of ours is part of `user` on Linux.
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - guests - idle)


def usage(process: psutil.Process) -> Usage:
    """Add up what a process and its children use; shared pages count once for each.

    Raises:
        psutil.NoSuchProcess: If the process is gone; a child that is gone meanwhile counts as none.
    """
    parts = {process.pid: _of(process)}
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            parts[child.pid] = _of(child)
    return Usage(
        cpu_s={pid: part[0] for pid, part in parts.items()},
        rss_mb=sum(part[1] for part in parts.values()) / 1e6,
        fds=sum(part[2] for part in parts.values()),
    )


def _of(process: psutil.Process) -> tuple[float, int, int]:
    """Return CPU seconds, resident bytes, open files."""
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss, process.num_fds()
