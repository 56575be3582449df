"""What the processor of this machine can do, as Linux tells it."""

import os
import platform
from math import ceil
from pathlib import Path

# The instruction sets beyond x86-64 that the library is compiled for, as /proc/cpuinfo names them.
_NEEDED = ("avx2", "fma", "f16c")
_CPUINFO = Path("/proc/cpuinfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def missing_instructions(cpuinfo: Path = _CPUINFO) -> list[str]:
    """Return what the library needs and this processor lacks.

    Without this check a process would die of an illegal instruction.
    """
    if platform.machine() != "x86_64":
        return ["x86-64"]
    flags = _fields(cpuinfo, "flags")
    return [name for name in _NEEDED if flags and name not in flags[0].split()]


def count_cores(cpuinfo: Path = _CPUINFO, limit: Path = _CGROUP_LIMIT) -> int:
    """Return the number of physical cores that this process may use, at least 1.

    Two threads on one core are no faster than one, because both need the same arithmetic units.
    """
    usable = len(os.sched_getaffinity(0))
    cores = set(zip(_fields(cpuinfo, "physical id"), _fields(cpuinfo, "core id"), strict=False))
    return max(1, min(usable, len(cores) or usable, _container_limit(limit) or usable))


def _container_limit(limit: Path) -> int | None:
    """Return the processors that a container may use, rounded up; None without a limit."""
    try:
        quota, period = limit.read_text().split()
        return ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _fields(cpuinfo: Path, name: str) -> list[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for key, _, value in pairs if key.strip() == name]
