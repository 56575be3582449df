"""The benchmark of reading and writing the past, on a small store."""

from pathlib import Path

import pytest

from benchmarks.history import measuring

pytestmark = [pytest.mark.anyio, pytest.mark.benchmark]


async def test_a_quick_run_times_each_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await measuring.measure(tmp_path, groups=4000, repeats=1, loads=10, written=16)
    lines = [line for line in capsys.readouterr().out.splitlines() if "[info" not in line]
    assert lines[0].startswith("4000 groups in ")
    assert any(line.startswith("one run ") and " ms " in line for line in lines)
    assert sum("ms of CPU" in line for line in lines) == 2
    sizes = {line[:24].strip(): float(line.split()[-2]) for line in lines if line.endswith(" kB")}
    assert len(sizes) == len(measuring.PAGES) + 3
    lists = [sizes[f"page: {name}"] for name in ("groups", "runs", "failures", "compare", "gold")]
    assert max(lists) < 100
    assert found["pages"]["one run"]["p95_ms"] > 0
