"""The benchmark of reading and writing the past, on a small store."""

from pathlib import Path

import pytest

from benchmarks import history

pytestmark = [pytest.mark.anyio, pytest.mark.benchmark]


async def test_a_quick_run_times_each_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await history.measure(tmp_path, groups=200, repeats=1, written=16)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("200 groups in ")
    assert any(line.startswith("one run ") and " ms " in line for line in lines)
    assert sum("ms of CPU" in line for line in lines) == 2
