"""Whole runs with vLLM servers without a model: some leave within a step, some are started."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from podium_trainer.records.checkpoint import checkpoints, read_state
from podium_trainer.records.metrics import read_rows
from podium_trainer.samplers.membership import NotEnoughServers
from podium_trainer.train import Trainer
from tests.trainer.fake_vllm import FakeVllm, varied
from tests.trainer.runs import Recorder, settings, train
from tests.trainer.samplers.launch import fake_server


class InPhase(Recorder):
    """A watcher that acts when a phase of a step begins."""

    def __init__(self, step: int, name: str, act: Callable[[], None]) -> None:
        super().__init__()
        self.when, self.act = (step, name), act

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        if (len(self.rows), name) == self.when and not done:
            self.act()


def recipe_with(folder: Path, service: str, *fakes: FakeVllm, **changes: Any) -> dict[str, Any]:
    """Make a recipe whose held-out prompts are played after each step."""
    recipe = settings(
        folder, service,
        sampler={
            "kind": "vllm", "urls": [fake.url for fake in fakes], "parity_bound": 1e3,
            "wait_s": 0.3, "max_tokens": 1,
        },
        eval={"every": 1, "win_rate": {"prompts": 0}},
        checkpoint={"every": 99},
        **changes,
    )  # fmt: skip
    recipe["task"]["options"]["held_out"] = 0.3
    return recipe


def test_servers_missing_in_an_evaluation_lose_no_step(tmp_path: Path, service_url: str) -> None:
    fake = FakeVllm()
    fake.spoil = varied
    with ExitStack() as life:
        life.enter_context(fake.serving())
        recipe = recipe_with(tmp_path, service_url, fake)
        with pytest.raises(NotEnoughServers, match=r"sampler\.wait_s = 0\.3 s"):
            train(recipe, watcher=InPhase(2, "held out", life.close))
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert [row["policy_version"] for row in rows] == [0, 1, 2]
    assert [row["held_out"] is None for row in rows] == [False, False, True]
    assert [row["servers_ready"] for row in rows] == [1, 1, 0]
    [saved] = checkpoints(tmp_path / "run/checkpoints")
    assert read_state(saved).step == 2
    with fake.serving():
        train(recipe, resume=True)
    rows = read_rows(tmp_path / "run/metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]


def test_a_run_goes_on_with_one_server_of_two(tmp_path: Path, service_url: str) -> None:
    first, second = FakeVllm(), FakeVllm()
    first.spoil = second.spoil = varied
    with ExitStack() as life, first.serving():
        life.enter_context(second.serving())
        in_turn = {"max_staleness": 0}
        recipe = recipe_with(tmp_path, service_url, first, second, rollout=in_turn)
        watcher = train(recipe, watcher=InPhase(2, "rollout", life.close))
    assert [row["servers_ready"] for row in watcher.rows] == [2, 2, 1, 1]
    assert watcher.rows[-1]["policy_version"] == 3
    assert any(f"{second.url} is gone" in note for note in watcher.notes)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["to its end", "stopped"])
def test_a_run_that_streams_leaves_its_servers(
    tmp_path: Path, service_url: str, is_stopped: bool
) -> None:
    fake = FakeVllm(num_workers=1)
    fake.spoil = varied

    def stop() -> None:
        raise KeyboardInterrupt

    with fake.serving():
        recipe = recipe_with(tmp_path, service_url, fake, steps=1)
        recipe["sampler"]["weight_sync"] = "stream"
        watcher = InPhase(1, "rollout" if is_stopped else "never", stop)
        with pytest.raises(KeyboardInterrupt) if is_stopped else nullcontext():
            train(recipe, watcher=watcher)
    assert fake.paths[-1] == "/shutdown_weight_transfer_engine"
    assert len(watcher.rows) == (1 if is_stopped else 2)


def vllm_python(folder: Path) -> Path:
    """Write a program that takes a Python's arguments, and is a server without a model."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_server.__file__} "$@"\n')
    path.chmod(0o755)
    return path


def launched() -> list[psutil.Process]:
    """Return the processes of the servers that this process has started."""
    found = psutil.Process().children(recursive=True)
    return [each for each in found if each.cmdline()[1:2] == [fake_server.__file__]]


def test_a_run_starts_its_servers_and_ends_them(tmp_path: Path, service_url: str) -> None:
    # Long enough for a look at the servers, which comes every second.
    recipe = recipe_with(tmp_path, service_url, steps=20, rollout={"max_staleness": 0})
    own = {"launch": True, "servers": 2, "vllm": {"python": str(vllm_python(tmp_path))}}
    del recipe["sampler"]["urls"]
    recipe["sampler"] |= own
    lost: list[psutil.Process] = []

    def kill_one() -> None:
        if not lost:
            lost.append(launched()[0])
            lost[0].kill()

    watcher = train(recipe, watcher=InPhase(2, "rollout", kill_one))
    assert len(watcher.rows) == 21
    assert [row["servers_ready"] for row in watcher.rows][:2] == [2, 2]
    assert any(note.endswith("; it is started again") for note in watcher.notes)
    assert launched() == []
    logs = sorted(path.name for path in (tmp_path / "run/servers").iterdir())
    assert logs == ["server-0.log", "server-1.log"]


def test_the_sampler_sleeps_in_each_update_and_no_longer(tmp_path: Path, service_url: str) -> None:
    seen: list[str] = []

    @contextmanager
    def asleep() -> Iterator[None]:
        seen.append("asleep")
        yield
        seen.append("awake")

    def attach(trainer: Trainer) -> None:
        trainer.updating = asleep

    class Phases(Recorder):
        def phase(self, name: str, done: int = 0, total: int = 0) -> None:
            seen.append(name)

    train(settings(tmp_path, service_url, steps=1), watcher=Phases(), before=attach)
    began = seen.index("asleep")
    assert seen[began - 1 : began + 4] == ["rank", "asleep", "update", "awake", "sync"]
