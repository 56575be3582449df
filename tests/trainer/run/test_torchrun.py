"""The real command under torchrun: it trains, resumes with other numbers of ranks, and ends."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from podium_trainer.records.checkpoint import checkpoints
from podium_trainer.records.metrics import read_rows
from tests.fakes import until
from tests.trainer.ranks.processes import running_ranks
from tests.trainer.runs import settings, train

pytestmark = pytest.mark.restart
LIMIT_S = 300.0


def start(
    size: int, recipe: dict[str, Any], folder: Path, *flags: str
) -> "subprocess.Popen[bytes]":
    """Start `podium-train` in `size` processes."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes", "1"]
    with (folder / "train.log").open("ab") as log:
        return subprocess.Popen(
            [*launcher, f"--nproc-per-node={size}", "-m", "podium_trainer", str(path), *flags],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def run(size: int, recipe: dict[str, Any], folder: Path, *flags: str) -> None:
    """Run `podium-train` in `size` processes to the end."""
    process = start(size, recipe, folder, *flags)
    try:
        assert process.wait(LIMIT_S) == 0, (folder / "train.log").read_text()
    finally:
        process.terminate()  # torchrun ends its processes


def numbers(folder: Path) -> list[dict[str, float]]:
    """Return what the updates of a run were."""
    names = ("step", "loss", "grad_norm", "reward", "k3")
    return [
        {name: row[name] for name in names if row.get(name) is not None}
        for row in read_rows(folder / "run" / "metrics.jsonl")
    ]


def test_a_run_goes_on_with_any_number_of_ranks(tmp_path: Path, service_url: str) -> None:
    alone, many = tmp_path / "alone", tmp_path / "many"
    for folder in (alone, many):
        folder.mkdir()
    changes: dict[str, Any] = {"checkpoint": {"every": 1}, "steps": 4}
    train(settings(alone, service_url, **changes))

    recipe = settings(many, service_url, **changes)
    run(2, recipe | {"steps": 1}, many)
    train(recipe | {"steps": 2}, resume=True)
    run(2, recipe | {"steps": 3}, many, "--resume")
    run(3, recipe, many, "--resume")
    for one, other in zip(numbers(alone), numbers(many), strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_a_rank_that_dies_ends_all_with_a_line(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=10_000)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with running_ranks(2, ["-P", "-m", "podium_trainer", str(path)], tmp_path / "log") as ranks:
        metrics = tmp_path / "run" / "metrics.jsonl"
        asyncio.run(until(lambda: len(read_rows(metrics)) > 2, LIMIT_S))
        ranks[1].kill()
        assert ranks[0].wait(LIMIT_S) == 1
    lines = (tmp_path / "log-0").read_text().splitlines()
    assert sum(line.startswith("podium-train: rank 0 cannot go on") for line in lines) == 1


def test_a_signal_to_stop_ends_all_and_saves_the_state(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=10_000, checkpoint={"every": 10_000})
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    metrics = tmp_path / "run" / "metrics.jsonl"
    with running_ranks(2, ["-P", "-m", "podium_trainer", str(path)], tmp_path / "log") as ranks:
        asyncio.run(until(lambda: len(read_rows(metrics)) > 2, LIMIT_S))
        for process in ranks[::-1]:
            process.terminate()
        statuses = [process.wait(LIMIT_S) for process in ranks]
    assert statuses[0] == 130, (tmp_path / "log-0").read_text()
    assert statuses[1] == 0
    assert checkpoints(tmp_path / "run" / "checkpoints")
