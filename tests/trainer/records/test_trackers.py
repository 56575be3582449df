"""Trackers are told every number once, under names that do not collide."""

from pathlib import Path

import pytest

from podium_trainer.config import LogConfig
from podium_trainer.records.metrics import JsonlFile, Listener, read_rows
from podium_trainer.records.rollouts.lines import rollout_lines
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.records.trackers import Prefixed, TrackerError, open_trackers, require_package
from podium_trainer.run.build import open_log
from tests.trainer import ranked


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(e.step, round(e.value, 4)) for e in events.Scalars(name)] for name in names}


def log_steps(out: Path, start: int, stop: int, **settings: bool | str) -> None:
    """Log what a run from a step on logs; each session's scores differ."""
    config = ranked.config(out, log=LogConfig.model_validate(settings))
    log = open_log(config, open_trackers(config, start))
    for step in range(start + 1, stop + 1):
        row, timing = ranked.step_rows(
            [ranked.group(["a", "b"], [0, 1], ["", ""])], (start + step) / 100
        )
        for listener in log.metrics:
            listener.log(step, row)
        log.timings.log(step, timing)
        for each in log.rollouts:
            each.log(step, rollout_lines(step, Gathered([], [ranked.group(["said"], None)]), None))
    log.close()


def test_a_run_without_trackers_writes_its_files(tmp_path: Path) -> None:
    log_steps(tmp_path, 0, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.jsonl", "rollouts.jsonl.zst", "timings.jsonl",
    ]  # fmt: skip
    assert read_rows(tmp_path / "metrics.jsonl")[1]["held_out"] == 0.02
    assert read_rows(tmp_path / "timings.jsonl")[1]["rollout_s"] == 2.0


def test_tensorboard_gets_all_numbers_and_no_none(tmp_path: Path) -> None:
    log_steps(tmp_path, 0, 3, tensorboard=True)
    found = scalars(tmp_path / "tensorboard")
    assert found["held_out"] == [(1, 0.01), (2, 0.02), (3, 0.03)]
    assert found["time/rollout_s"] == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert found["time/judge_cost_usd"][0] == (1, 0.25)
    assert "ref_kl" not in found
    assert len(read_rows(tmp_path / "timings.jsonl")) == 3


def test_tensorboard_hides_the_steps_that_are_done_again(tmp_path: Path) -> None:
    log_steps(tmp_path, 0, 4, tensorboard=True)
    log_steps(tmp_path, 2, 4, tensorboard=True)
    found = scalars(tmp_path / "tensorboard")
    assert found["held_out"] == [(1, 0.01), (2, 0.02), (3, 0.05), (4, 0.06)]


def test_a_tracker_without_its_package_is_an_error() -> None:
    with pytest.raises(TrackerError, match=r"^log\.wandb: no_such_one is not installed: run pip i"):
        require_package("log.wandb", "no_such_one")


@pytest.mark.filterwarnings("default")
def test_wandb_keeps_the_same_run_over_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_steps(tmp_path, 0, 2, wandb="project")
    id = (tmp_path / "wandb_id").read_text()
    log_steps(tmp_path, 2, 3, wandb="project")
    assert (tmp_path / "wandb_id").read_text() == id
    records = b"".join(path.read_bytes() for path in tmp_path.glob(f"wandb/*/run-{id}.wandb"))
    for name in (b"held_out", b"time/rollout_s", b"some/model-1B", b"table-file"):
        assert name in records


def test_a_prefix_renames_and_does_not_close_the_listener(tmp_path: Path) -> None:
    inner: Listener = JsonlFile(tmp_path / "rows.jsonl")
    prefixed = Prefixed(inner, "time/")
    prefixed.log(1, {"rollout_s": 2.0})
    prefixed.close()
    inner.log(2, {})
    inner.close()
    rows = read_rows(tmp_path / "rows.jsonl")
    assert rows == [{"step": 1, "time/rollout_s": 2.0}, {"step": 2}]
