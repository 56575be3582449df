"""Faults within a run: a step that fails is skipped, and what stops a run loses nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from podium_trainer.records.best import progress
from podium_trainer.records.checkpoint import checkpoints, read_state
from podium_trainer.records.metrics import JsonlFile, MetricsError, read_rows
from podium_trainer.train import Trainer, TrainingStopped
from tests.trainer.runs import Recorder, settings, train


class Fault:
    """A hook on the model's first parameter that breaks the gradient at some steps."""

    def __init__(self, steps: set[int], error: Exception | None = None) -> None:
        self.steps, self.error = steps, error

    def attach(self, trainer: Trainer) -> None:
        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            if trainer.step not in self.steps:
                return gradient
            if self.error is not None:
                raise self.error
            return gradient * float("nan")

        trainer.policy.parameters()[0].register_hook(spoil)  # type: ignore[no-untyped-call]


FAULTS = [
    (None, "the gradient's norm is nan"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "micro_batch_tokens"),
]


@pytest.mark.parametrize(("error", "words"), FAULTS)
def test_a_step_that_fails_is_skipped_and_counted(
    tmp_path: Path, service_url: str, error: Exception | None, words: str
) -> None:
    recipe = settings(tmp_path, service_url)
    watcher = train(recipe, before=Fault({2}, error).attach)
    assert [row["skipped"] for row in watcher.rows] == [0, 0, 1, 0]
    assert [row["policy_version"] for row in watcher.rows] == [0, 1, 1, 2]
    assert any("step 2 was skipped" in note and words in note for note in watcher.notes)


def test_steps_that_fail_in_a_row_stop_the_run_with_a_checkpoint(
    tmp_path: Path, service_url: str
) -> None:
    recipe = settings(tmp_path, service_url, steps=9, max_skipped_steps=2, checkpoint={"every": 99})
    with pytest.raises(TrainingStopped, match="2 steps in a row were skipped; in the last one the"):
        train(recipe, before=Fault({3, 4}).attach)
    [saved] = checkpoints(tmp_path / "run/checkpoints")
    assert read_state(saved).step == 3
    assert read_state(saved).skipped_steps == 1
    train(recipe | {"steps": 5}, resume=True)
    assert [row["step"] for row in read_rows(tmp_path / "run/metrics.jsonl")] == list(range(6))


def test_a_run_goes_on_from_an_earlier_checkpoint(tmp_path: Path, service_url: str) -> None:
    recipe: dict[str, Any] = settings(
        tmp_path, service_url, steps=3, checkpoint={"every": 1, "keep": 9}
    )
    train(recipe)
    first = (tmp_path / "run/metrics.jsonl").read_bytes()
    assert len(train(recipe, resume_from=1, watcher=Recorder()).rows) == 2
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == first
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert [name for name in names if name.startswith("replaced")] == [
        "replaced-step-000002",
        "replaced-step-000003",
    ]


def test_progress_is_the_score_and_else_the_win_rate() -> None:
    assert progress({"held_out": 0.25, "win_rate": 0.75}) == 0.25
    assert progress({"held_out": None, "win_rate": 0.75}) == 0.75
    assert progress({"held_out": None}) is None


def test_a_disk_that_is_full_at_a_row_loses_no_step(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=3, checkpoint={"every": 9})
    running, full = list[Trainer](), JsonlFile(Path("/dev/full"))

    def fill(step: int) -> None:
        if step == 1:
            [trainer] = running
            trainer.log = replace(trainer.log, metrics=[full])

    watcher = Recorder(fill)
    with pytest.raises(MetricsError, match=r"^/dev/full cannot be written: .* then add --resume$"):
        train(recipe, watcher=watcher, before=running.append)
    full.close()
    assert watcher.notes[-1] == "step 2 is saved without its row of numbers"
    [saved] = checkpoints(tmp_path / "run/checkpoints")
    assert read_state(saved).step == 2
    train(recipe, resume=True)
    assert [row["step"] for row in read_rows(tmp_path / "run/metrics.jsonl")] == [0, 1, 3]
