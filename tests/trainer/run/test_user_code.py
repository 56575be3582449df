"""A user's code that raises in the middle of a run, and weights that are not worth keeping."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from podium_trainer.records.checkpoint import CheckpointError, checkpoints
from podium_trainer.records.rollouts.file import NAME, read_lines
from podium_trainer.train import Trainer
from tests.trainer.fake_vllm import FakeVllm, Wire
from tests.trainer.rollout.scripted_sampler import CHAT, write_call
from tests.trainer.run import failing_task
from tests.trainer.runs import Recorder, settings, train
from tests.trainer.tiny import END

SCORE = """
calls = []

def score(prompt, messages):
    calls.append(prompt)
    if len(calls) > 8:  # in the evaluation after step 2
        raise ValueError("no number in [0, 1]")
    return 0.5
"""
# A disk on which no file is longer than the first argument says.
WITH_SMALL_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
runpy.run_module("podium_trainer", run_name="__main__", alter_sys=True)
"""


def podium_train(
    folder: Path, recipe: dict[str, Any], *flags: str, max_bytes: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with no file longer than `max_bytes`."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    program = ["-P", "-m", "podium_trainer"]
    if max_bytes is not None:
        program = ["-P", "-c", WITH_SMALL_FILES, str(max_bytes)]
    return subprocess.run(
        [sys.executable, *program, str(path), *flags],
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_score_that_raises_ends_the_command_after_saving(
    tmp_path: Path, service_url: str
) -> None:
    (tmp_path / "my_score.py").write_text(SCORE)
    recipe = settings(tmp_path, service_url, checkpoint={"every": 99})
    recipe["task"]["options"] |= {"held_out": 0.2, "scorer": "my_score:score"}
    recipe["eval"] = {"every": 1, "samples": 2, "win_rate": {"prompts": 0}}
    done = podium_train(tmp_path, recipe)
    assert done.returncode == 1
    assert "saved: --resume goes on from step 2" in done.stdout.splitlines()
    *traceback, last = done.stderr.splitlines()
    where = f"{tmp_path}/my_score.py"
    assert last.startswith("podium-train: the score my_score:score at prompt ")
    assert last.endswith(f"raised ValueError: no number in [0, 1] ({where}:7)")
    assert traceback == [
        "Traceback (most recent call last):",
        f'  File "{where}", line 7, in score',
        '    raise ValueError("no number in [0, 1]")',
        "ValueError: no number in [0, 1]",
    ]
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-000002"]


def call_tool(choice: Wire) -> Wire:
    """Let each completion call the tool, in its own words."""
    tokens = [*CHAT.encode("abcdefgh"[choice["index"]] + write_call("shops")), END]
    content = [{"token_id": token, "logprob": -1.0} for token in tokens]
    return choice | {
        "token_ids": tokens,
        "finish_reason": "stop",
        "logprobs": {"content": content},
        "weight_versions": [dict(choice["weight_versions"][0], end=len(tokens))],
    }


def test_a_tool_that_raises_answers_the_model(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=1)
    recipe["task"] = {"name": "tests.trainer.run.failing_task:make"}
    with FakeVllm().serving() as fake:
        recipe["sampler"] = {
            "kind": "vllm", "urls": [fake.url], "parity_bound": 100.0, "max_tokens": 99,
        }  # fmt: skip
        train(recipe, before=lambda trainer: setattr(fake, "spoil", call_tool))
    [*_, line] = read_lines(tmp_path / "run" / NAME)
    assert "error: ConnectionError: the shop is closed" in str(line)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, service_url: str) -> None:
    trainers: list[Trainer] = []

    def spoil(step: int) -> None:
        if step == 2:
            with torch.no_grad():
                trainers[0].policy.parameters()[0].fill_(math.nan)

    recipe = settings(tmp_path, service_url, steps=5, checkpoint={"every": 1, "keep": 1})
    with pytest.raises(CheckpointError, match="weights after step 2 are not finite and were not"):
        train(recipe, watcher=Recorder(spoil), before=trainers.append)
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-000001"]
    train(recipe, resume=True)


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path: Path, service_url: str) -> None:
    def count(step: int) -> None:
        failing_task.step = step + 1

    failing_task.step = 0
    recipe = settings(tmp_path, service_url, steps=3, checkpoint={"every": 1, "keep": 1})
    recipe["task"]["options"] |= {
        "held_out": 0.2, "scorer": "tests.trainer.run.failing_task:falling",
    }  # fmt: skip
    recipe["eval"] = {"every": 1, "samples": 1, "win_rate": {"prompts": 0}}
    watcher = train(recipe, watcher=Recorder(count))
    assert [row["held_out"] for row in watcher.rows] == [0.2, 0.9, 0.3, 0.1]
    folder = tmp_path / "run/checkpoints"
    assert [path.name for path in checkpoints(folder)] == ["step-000001", "step-000003"]
    assert (folder / "best").resolve() == folder / "step-000001"


def test_a_disk_that_is_full_at_a_checkpoint_is_one_line(tmp_path: Path, service_url: str) -> None:
    recipe = settings(tmp_path, service_url, steps=1, checkpoint={"every": 1})
    train(recipe)
    size = (tmp_path / "model/model.safetensors").stat().st_size
    longer = recipe | {"steps": 2}
    done = podium_train(tmp_path, longer, "--resume", max_bytes=size + 2000)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    folder = tmp_path / "run/checkpoints"
    assert line.startswith(f"podium-train: cannot write {folder}/step-000002: ")
    names = {path.name for path in folder.iterdir()}
    assert names == {"step-000001"}
    train(longer, resume=True)
