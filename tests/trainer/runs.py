"""Whole training runs of a tiny model, in this process or in one that can be killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from podium_trainer.config import TrainConfig
from podium_trainer.records.metrics import Row
from podium_trainer.run.build import open_trainer
from podium_trainer.run.recipe import Resume
from podium_trainer.train import Trainer
from podium_trainer.update.groups import RankedGroup
from tests.trainer.tiny import save_model

JUDGES = {
    "default_judge": "taste",
    "judges": {
        "taste": {
            "kind": "checks",
            "criteria": [
                {"check": "regex", "pattern": "[a-m]", "weight": 2},
                {"check": "regex", "pattern": "[n-z]"},
                {"check": "regex", "pattern": "[0-9!-/]"},
            ],
        }
    },
}


def write_judges(folder: Path) -> Path:
    path = folder / "judges.yaml"
    path.write_text(yaml.safe_dump(JUDGES))
    return path


def settings(folder: Path, service: str, **changes: Any) -> dict[str, Any]:
    """Return a recipe for a tiny model that the folder gets; `changes` go into its sections."""
    model, prompts = folder / "model", folder / "prompts.jsonl"
    if not model.exists():
        save_model(model)
        lines = [{"prompt": f"say {word}", "reference": word} for word in "abcdefghijk"]
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe: dict[str, Any] = {
        "model": {"path": str(model), "device": "cpu", "autocast": False},
        "task": {"name": "data", "options": {"path": str(prompts), "held_out": None}},
        "out": str(folder / "run"),
        "steps": 3,
        "service": {"url": service},
        "sampler": {"max_tokens": 6},
        "rollout": {"prompts_per_step": 3, "group_size": 4},
        "optimizer": {"lr": 1e-3},
        "checkpoint": {"every": 3},
        "eval": {"every": 0},
    }
    for name, value in changes.items():
        is_section = isinstance(value, dict)
        recipe[name] = {**recipe.get(name, {}), **value} if is_section else value
    return recipe


class Recorder:
    """A watcher that keeps everything; `after` is called at the end of each step."""

    def __init__(self, after: Callable[[int], None] = lambda step: None) -> None:
        self.after = after
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.seen: dict[int, list[RankedGroup]] = {}

    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        self.rows.append(row)
        self.after(step)

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        self.seen[step] = list(groups)


def train(
    recipe: dict[str, Any],
    *,
    resume: bool = False,
    resume_from: int | None = None,
    accepts_changes: bool = False,
    watcher: Recorder | None = None,
    before: Callable[[Trainer], None] = lambda trainer: None,
) -> Recorder:
    """Run to the end in this process."""
    torch.set_num_threads(1)
    watcher = watcher or Recorder()
    start = Resume(resume or resume_from is not None, resume_from, accepts_changes)
    with open_trainer(TrainConfig.model_validate(recipe), watcher, start) as trainer:
        before(trainer)
        trainer.run()
    return watcher


def start_process(recipe: dict[str, Any], folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Start `podium-train RECIPE FLAGS` as a process; its output goes to a file."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with (folder / "train.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "podium_trainer", str(path), *flags],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
