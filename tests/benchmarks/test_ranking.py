import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.benchmark

TABLES = {
    "targets": 4,
    "methods": 1,
    "others": 0,
    "growth": 0,
    "defences": 3,
    "recorded": 1,
    "real": 1,
    "cpu": 1,
    "invariance": 2,
    "left_out": 4,
}
# Shares, by column; other columns have units of their own.
SHARES = ("AUC", "sign errors", "flips", "wrong", "verdicts void")
TAUS = ("tau", "correlation", "lift")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the quick run writes; sections whose data is not there hold no tables."""
    folder = tmp_path_factory.mktemp("ranking")
    command = [sys.executable, "-m", "benchmarks.ranking", "--quick"]
    command += ["--out", str(folder / "found.json"), "--plot", str(folder / "found.png")]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (folder / "found.png").stat().st_size > 10_000
    result: dict[str, Any] = json.loads((folder / "found.json").read_bytes())
    return result


def figures(tables: dict[str, list[dict[str, Any]]]) -> list[tuple[str, float]]:
    """Return all figures of some tables, by the first word of their columns."""
    return [
        (column, cell["value"] if isinstance(cell, dict) else cell)
        for rows in tables.values()
        for row in rows
        for column, cell in row.items()
        if not isinstance(cell, str | None)
    ]


def test_the_quick_run_fills_every_section_that_has_its_data(found: dict[str, Any]) -> None:
    assert list(found) == list(TABLES)
    for name, section in found.items():
        assert len(section["tables"]) in ({0, TABLES[name]} if name in ("recorded", "real") else
                                          {TABLES[name]})  # fmt: skip


def test_figures_of_the_quick_run_are_in_range(found: dict[str, Any]) -> None:
    every = [pair for section in found.values() for pair in figures(section["tables"])]
    assert len(every) > 200
    for column, value in every:
        if value is None:
            continue
        if column.startswith(SHARES):
            assert 0 <= value <= 1, column
        if column.startswith(TAUS) and not column.endswith("$"):  # dollars of tau-bench
            assert -1 <= value <= 1, column


def test_more_passes_are_closer_to_the_truth_than_ruler(found: dict[str, Any]) -> None:
    (rows,) = (t for title, t in found["targets"]["tables"].items() if title.startswith("Quality"))
    by_arm = {row["arm"]: row["tau, means"]["value"] for row in rows}
    assert by_arm["RULER"] < by_arm["6 passes"]


def test_only_content_moves_a_reward(found: dict[str, Any]) -> None:
    exact = [each for each in found["invariance"]["targets"] if each["what"].startswith("largest")]
    assert [each["found"] for each in exact] == [0.0, 0.0, 0.0]
