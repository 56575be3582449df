"""A process and all its children -> what they have used."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """Of a tree of processes at one moment; `cpu_s` by process, the parent first."""

    cpu_s: dict[int, float]
    rss_mb: float
    fds: int

    @property
    def total_cpu_s(self) -> float:
        return sum(self.cpu_s.values())

    def since(self, before: "Usage") -> list[float]:
        """CPU seconds of each process since then."""
        return [spent - before.cpu_s.get(pid, 0.0) for pid, spent in self.cpu_s.items()]


def machine_busy_s() -> float:
    """CPU seconds of all cores that someone, or another guest of the host, has used."""
    times = psutil.cpu_times()
    # What ran in guests of ours is part of `user` on Linux.
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - guests - idle)


def usage(process: psutil.Process) -> Usage:
    """Pages that processes share are counted once for each."""
    tree = [process, *process.children(recursive=True)]
    times = {each.pid: each.cpu_times() for each in tree}
    return Usage(
        cpu_s={pid: time.user + time.system for pid, time in times.items()},
        rss_mb=sum(each.memory_info().rss for each in tree) / 1e6,
        fds=sum(each.num_fds() for each in tree),
    )
