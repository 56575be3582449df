"""Rows on a disk that is full: whole or not there."""

import resource
from pathlib import Path

import pytest

from podium_trainer.records.metrics import JsonlFile, MetricsError, read_rows, write_whole


def test_a_full_disk_leaves_no_part_of_a_row_or_a_file(tmp_path: Path) -> None:
    rows, config = tmp_path / "metrics.jsonl", tmp_path / "config.yaml"
    config.write_text("old")
    file = JsonlFile(rows)
    file.log(1, {"loss": 0.5})
    file.log(1, {"loss": 0.7})  # a step that has a row keeps it
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (rows.stat().st_size + 9, limits[1]))
    try:
        with pytest.raises(MetricsError, match=r"File too large: make room, then add --resume$"):
            file.log(2, {"loss": 0.25})
        with pytest.raises(OSError, match="File too large"):
            write_whole(config, "new " * 99)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.log(2, {"loss": 0.25})
    file.close()
    assert read_rows(rows) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    assert config.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "metrics.jsonl"]
