"""What /proc/cpuinfo says."""

import os
import platform
from pathlib import Path

import pytest

from podium_service.judges.local.llama.cpu import count_cores, missing_instructions

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has these flags")


def cpuinfo(tmp_path: Path, *processors: tuple[int, int], flags: str = "fma avx2 f16c") -> Path:
    """Write a file as the kernel shows it; each processor has a package and a core."""
    blocks = [
        f"processor\t: {index}\nflags\t\t: sse {flags}\nphysical id\t: {package}\n"
        f"core id\t\t: {core}\n"
        for index, (package, core) in enumerate(processors)
    ]
    path = tmp_path / "cpuinfo"
    path.write_text("\n".join(blocks))
    return path


@x86
def test_instructions_that_are_missing_are_named(tmp_path: Path) -> None:
    assert missing_instructions(cpuinfo(tmp_path, (0, 0))) == []
    assert missing_instructions(cpuinfo(tmp_path, (0, 0), flags="avx fma")) == ["avx2", "f16c"]


@x86
def test_a_kernel_that_tells_nothing_is_trusted(tmp_path: Path) -> None:
    assert missing_instructions(tmp_path / "none") == []


def test_two_threads_of_a_core_count_once(tmp_path: Path) -> None:
    no_limit = tmp_path / "cpu.max"
    no_limit.write_text("max 100000\n")
    one_core = cpuinfo(tmp_path, (0, 0), (0, 0))
    assert count_cores(one_core, no_limit) == 1
    many = cpuinfo(tmp_path, *((package, core) for package in (0, 1) for core in range(64)))
    assert count_cores(many, no_limit) == min(128, len(os.sched_getaffinity(0)))


def test_the_limit_of_a_container_is_heeded(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("50000 100000\n")
    assert count_cores(cpuinfo(tmp_path, (0, 0), (0, 1)), limit) == 1


def test_cores_are_counted_where_the_kernel_tells_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert count_cores(nowhere, nowhere) == len(os.sched_getaffinity(0))
