"""Numbers and completions of a run stand in trackio's own store, also after a resume."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.records.rollouts.table import COLUMNS, Cell
from podium_trainer.records.trackers import TIME, Prefixed, Trackio

ROW: list[Cell] = ["2 + 2 =", "4", 1.0, 0.75, 0.25, None]


@pytest.fixture(scope="module", autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["TRACKIO_DIR"] = str(tmp_path_factory.mktemp("trackio"))  # read at its import


def log_steps(out: Path, steps: Sequence[int]) -> None:
    """Log what a session of a run logs."""
    tracker = Trackio("sums", out, {"model": {"path": "m"}, "steps": 9})
    for step in steps:
        tracker.log(step, {"held_out": step / 10, "win_rate": None})
        Prefixed(tracker, TIME).log(step, {"rollout_s": 2.0})
        tracker.log_table(step, COLUMNS, [[step, *ROW]])
    tracker.close()


def read(name: str) -> list[dict[str, Any]]:
    from trackio.sqlite_storage import SQLiteStorage

    rows: list[dict[str, Any]] = SQLiteStorage.get_logs("sums", name)
    return rows


def test_a_run_keeps_its_numbers_and_tables_over_a_resume(tmp_path: Path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    log_steps(tmp_path / "run", [0, 1])
    log_steps(tmp_path / "run", [2])
    [name] = SQLiteStorage.get_runs("sums")
    assert name.startswith("run-")
    rows = read(name)
    assert [(r["step"], r["held_out"]) for r in rows if "held_out" in r] == [
        (0, 0.0), (1, 0.1), (2, 0.2),
    ]  # fmt: skip
    assert [r["step"] for r in rows if r.get("time/rollout_s") == 2.0] == [0, 1, 2]
    assert not any("win_rate" in row for row in rows)
    tables = [row["completions"] for row in rows if "completions" in row]
    assert len(tables) == 3


def test_another_run_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    before = len(SQLiteStorage.get_runs("sums"))
    log_steps(tmp_path / "run", [0])
    assert len(SQLiteStorage.get_runs("sums")) == before + 1
