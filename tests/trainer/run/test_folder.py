"""The folder of a run: one process at a time, and no resume with other settings unawares."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podium_trainer.config import TrainConfig
from podium_trainer.policy.load import PolicyError
from podium_trainer.policy.ranks.processes import Ranks
from podium_trainer.records.checkpoint import RunState
from podium_trainer.records.made_with import FREE, describe, differences, shown
from podium_trainer.run import cli
from podium_trainer.run.cli import run
from podium_trainer.run.folder import (
    LockError,
    StartError,
    after_restart,
    lock_folder,
    name_launch,
    prepare_folder,
)
from podium_trainer.run.recipe import Resume
from podium_trainer.tasks import open_task
from tests.trainer.runs import settings, train


def test_a_folder_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    with lock_folder(tmp_path / "run"):
        with pytest.raises(LockError) as caught, lock_folder(tmp_path / "run"):
            pass
        assert str(caught.value) == (
            f"out {tmp_path}/run is in use by {owner}: choose another --out, or wait until that"
            " run ends"
        )
    with lock_folder(tmp_path / "run"):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from podium_trainer.run.folder import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_does_not_block(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(LockError, match=f"in use by process {holder.pid} on "):
            lock_folder(tmp_path).__enter__()
        holder.kill()
        holder.wait()
        with lock_folder(tmp_path):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_a_second_run_on_a_folder_is_refused(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=1)
    with lock_folder(tmp_path / "run"), pytest.raises(LockError, match="is in use by process"):
        train(recipe)
    train(recipe)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LockError, match=r"out .*/file/run cannot be used: ") as caught:
        lock_folder(tmp_path / "file/run").__enter__()
    assert "\n" not in str(caught.value)


def test_a_run_in_the_current_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig.model_validate(settings(tmp_path, "http://podium"))
    names = [config.model_copy(update={"out": Path(out)}).run_name for out in (".", "a/b", "/")]
    assert names == [tmp_path.name, "b", "run"]


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("3", 0)])
def test_of_many_ranks_one_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, lines: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", rank)
    assert run(["no-such-recipe"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize(("size", "is_noted"), [(1, True), (2, False)])
def test_without_ray_ranks_are_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int, is_noted: bool
) -> None:
    recipe = settings(tmp_path, "http://podium", ranks=2) | {"model": {"path": "./none"}}
    with pytest.raises(PolicyError):
        cli.train(TrainConfig.model_validate(recipe), Resume(), Ranks(0, size))
    line = "ranks 2 counts with --ray only; this run has 1"
    assert (line in capsys.readouterr().out) == is_noted


@pytest.mark.parametrize(("kind", "is_noted"), [("local", True), ("vllm", False)])
def test_urls_that_are_not_used_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, is_noted: bool
) -> None:
    sampler = {"kind": kind, "urls": ["http://gpu-1:8000"]}
    recipe = settings(tmp_path, "http://podium", sampler=sampler) | {"model": {"path": "./none"}}
    with pytest.raises(PolicyError):
        cli.train(TrainConfig.model_validate(recipe), Resume(), Ranks(0, 1))
    line = "sampler.urls count with --sampler vllm only; this run samples here"
    assert (line in capsys.readouterr().out) == is_noted


def of_torchrun(logs: str, count: int) -> dict[str, str]:
    return {
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": str(count),
        "TORCHELASTIC_ERROR_FILE": f"{logs}/attempt_{count}/0/error.json",
        "GROUP_WORLD_SIZE": "1",
    }


def test_a_restart_goes_on_with_its_own_run_alone(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(settings(tmp_path, "http://podium"))
    config.out.mkdir()
    told = Resume(True, step=3)
    first = after_restart(config.out, told, of_torchrun("/logs/none_a", 0))
    assert first == Resume(True, step=3, launch="/logs/none_a")
    failed_before = after_restart(config.out, told, of_torchrun("/logs/none_a", 1))
    assert failed_before == first
    prepare_folder(config, RunState(), first.launch)
    again = after_restart(config.out, told, of_torchrun("/logs/none_a", 2))
    assert again == Resume(True, launch="/logs/none_a")
    other = after_restart(config.out, Resume(), of_torchrun("/logs/none_b", 1))
    assert other == Resume(launch="/logs/none_b")  # which is refused, as its first start was


LAUNCHES = {
    "none": ({}, ""),
    "a restart without a name": ({"TORCHELASTIC_RESTART_COUNT": "1"}, ""),
    "one machine": (of_torchrun("/l/7_a", 1) | {"TORCHELASTIC_RUN_ID": "7"}, "/l/7_a"),
    "two": (of_torchrun("/l/7_a", 1) | {"TORCHELASTIC_RUN_ID": "7", "GROUP_WORLD_SIZE": "2"}, "7"),
    "two without an id": (of_torchrun("/l/none_a", 1) | {"GROUP_WORLD_SIZE": "2"}, "/l/none_a"),
    "without logs": ({"TORCHELASTIC_RUN_ID": "7", "TORCHELASTIC_ERROR_FILE": ""}, "7"),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_the_starts_of_a_launch_have_a_name_in_common(name: str) -> None:
    environment, launch = LAUNCHES[name]
    assert name_launch(environment) == launch


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 7}, "seed is 7 and was 0"),
    "betas": (
        {"optimizer": {"betas": [0.9, 0.95]}},
        "optimizer.betas is [0.9, 0.95] and was [0.9, 0.99]",
    ),
    "weight decay": (
        {"optimizer": {"weight_decay": 0.1}},
        "optimizer.weight_decay is 0.1 and was 0.0",
    ),
    "loss": ({"loss": {"name": "grpo"}}, 'loss.name is "grpo" and was "dapo"'),
    "a constant of it": ({"loss": {"dual_clip": None}}, "loss.dual_clip is null and was 3.0"),
    "tokens": ({"sampler": {"max_tokens": 7}}, "sampler.max_tokens is 7 and was 6"),
    "group size": ({"rollout": {"group_size": 5}}, "rollout.group_size is 5 and was 4"),
    "judge": ({"eval": {"judge": "taste"}}, 'eval.judge is "taste" and was null'),
}


def described(folder: Path, **changes: Any) -> dict[str, Any]:
    config = TrainConfig.model_validate(settings(folder, "http://podium", **changes))
    task = open_task(config.task.name, config.task.options)
    return dict(json.loads(json.dumps(describe(config, task))))  # as a checkpoint has it


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_what_is_learnt_is_compared(tmp_path: Path, name: str) -> None:
    changes, line = CHANGES[name]
    before, now = described(tmp_path), described(tmp_path, **changes)
    assert differences(before, before) == []
    assert [line for _, line in differences(before, now)] == [line]


def test_what_cannot_break_a_run_is_not_compared(tmp_path: Path) -> None:
    free = described(
        tmp_path, steps=99, out=str(tmp_path / "other"), max_idle_steps=3, log={"wandb": "x"},
        checkpoint={"every": 1}, eval={"every": 2}, optimizer={"micro_batch_tokens": 64},
        sampler={"kind": "vllm", "timeout_s": 5.0},
    )  # fmt: skip
    assert differences(described(tmp_path), free) == []


def test_every_free_setting_exists() -> None:
    for name in FREE:
        section: Any = TrainConfig
        for part in name.split("."):
            field = section.model_fields[part]
            section = field.annotation


def test_data_is_compared_by_content_and_not_by_path(tmp_path: Path) -> None:
    before = described(tmp_path)
    other = tmp_path / "moved.jsonl"
    rows = (tmp_path / "prompts.jsonl").read_text()
    options = {"options": {"path": str(other), "held_out": None}}
    other.write_text(rows)
    assert differences(before, described(tmp_path, task=options)) == []
    other.write_text(rows.replace("say b", "say bee"))
    [(name, line)] = differences(before, described(tmp_path, task=options))
    assert name == "task.train"
    assert line.count("11 with SHA-256 ") == 2


def test_a_section_or_a_variable_that_appears_is_told(tmp_path: Path) -> None:
    plain, lora = described(tmp_path), described(tmp_path, model={"lora": {"rank": 8}})
    assert differences(plain, lora) == [("model.lora", 'model.lora is "set" and was null')]
    silent = described(tmp_path, model={"chat_template_kwargs": {"enable_thinking": False}})
    [(name, line)] = differences(plain, silent)
    assert line == f'{name} is {{"enable_thinking": false}} and was {{}}'
    assert differences(plain, plain | {"loss.new": 1}) == []  # a setting of a later version
    assert len(shown("x" * 999)) == 100


def test_a_run_resumes_with_changes_only_if_told_to(tmp_path: Path, service_url: str) -> None:
    train(settings(tmp_path, service_url, steps=1))
    optimizer = {"betas": [0.8, 0.95], "weight_decay": 0.5}
    changed = settings(tmp_path, service_url, steps=2, optimizer=optimizer)
    with pytest.raises(StartError) as caught:
        train(changed, resume=True)
    first, *lines = str(caught.value).splitlines()
    assert first == (
        f"{tmp_path}/run/checkpoints/step-000001 was made with other settings: go on with the same"
        " settings, add --accept-changes to go on with the new ones, or choose another --out"
    )
    assert lines == [
        "optimizer.betas is [0.8, 0.95] and was [0.9, 0.99]",
        "optimizer.weight_decay is 0.5 and was 0.0",
    ]
    groups: list[Any] = []
    watcher = train(
        changed, resume=True, accepts_changes=True,
        before=lambda trainer: groups.extend(trainer.optimizer.param_groups),
    )  # fmt: skip
    assert [note for note in watcher.notes if "changed" in note] == [
        f"changed: {line}" for line in lines
    ]
    assert [(g["betas"], g["weight_decay"]) for g in groups] == [((0.8, 0.95), 0.5)]
    train(changed | {"steps": 3}, resume=True)  # the next checkpoint has the new settings


def test_adapters_keep_their_shape_whatever_is_accepted(tmp_path: Path, service_url: str) -> None:
    model = {"lora": {"rank": 2}}
    train(settings(tmp_path, service_url, steps=1, model=model))
    changed = settings(tmp_path, service_url, steps=2, model={"lora": {"rank": 4}})
    with pytest.raises(StartError, match=r"same settings, or choose") as caught:
        train(changed, resume=True, accepts_changes=True)
    assert str(caught.value).splitlines()[1:] == ["model.lora.rank is 4 and was 2"]
