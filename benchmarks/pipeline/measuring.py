"""Run the trainer with parts of chosen seconds, and measure its steps.

The sampler, the judge and the service are processes of their own, and all of them are asked over
HTTP. The trainer is `podium-train`'s own loop with a model of 332k parameters, whose update is
stretched to the chosen seconds.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.from_scratch import save_model
from benchmarks.pipeline.parts import PROMPTS, Parts
from benchmarks.processes import ended
from podium_trainer.config import TrainConfig
from podium_trainer.records.metrics import Row
from podium_trainer.rollout.failures import PlayedGroup
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.run.build import open_trainer
from podium_trainer.samplers.weight_sync import WeightSync
from podium_trainer.tasks.task import Prompt
from podium_trainer.train import Trainer

GROUP_SIZE = 4


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        kind: the name of its parts.
        max_staleness: the number of gathers that run ahead.
        step_s: mean seconds of a step, without the first and the last ones.
        bound_s: what its parts take at least.
        staleness: the largest number of updates by which a token was too old.
        idle: the mean share of the time in which each part was idle.
    """

    kind: str
    max_staleness: int
    step_s: float
    bound_s: float
    staleness: int
    idle: dict[str, float]

    @property
    def ratio(self) -> float:
        """The seconds of a step over the least possible ones."""
        return self.step_s / self.bound_s


class SlowUpdate:
    """Stretches an update with its push to some seconds; stands in for the trainer's sync."""

    def __init__(self, seconds: float, sync: WeightSync) -> None:
        self.seconds = seconds
        self.sync = sync
        self.began = 0.0

    @contextmanager
    def begin(self) -> Iterator[None]:
        self.began = time.perf_counter()
        yield

    def push(self, version: int) -> None:
        self.sync.push(version)
        time.sleep(max(0.0, self.began + self.seconds - time.perf_counter()))

    def close(self) -> None:
        self.sync.close()


class WaitForAll(Rollout):
    """Hands groups on once all of them are played, so that none is ranked before."""

    def play(
        self, prompts: Sequence[Prompt], group_size: int, *, seed: str
    ) -> Generator[tuple[int, PlayedGroup], None, None]:
        yield from list(super().play(prompts, group_size, seed=seed))


@dataclass
class Watch:
    """Keeps when each step was done, and its numbers."""

    done_at: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...

    def note(self, text: str) -> None: ...

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        self.done_at.append(time.perf_counter())
        self.rows.append({**row, **timing})

    def groups(self, step: int, groups: Any) -> None: ...


@contextmanager
def sampler_server(parts: Parts) -> Iterator[str]:
    """Start a scripted server; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.pipeline.sampler_server"]
    command += ["--seconds", json.dumps(list(parts.groups_s)), "--slots", str(PROMPTS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with ended(process):
        assert process.stdout
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"


def run_cell(
    kind: str,
    parts: Parts,
    max_staleness: int,
    service_url: str,
    *,
    measured: int,
    waits_for_all: bool = False,
) -> Cell:
    """Train for as many steps as are measured, and those that fill and empty the pipeline.

    What is gathered while the first update takes its time is used up before the measurement.

    Args:
        kind: the name of the parts.
        parts: the seconds of all parts.
        max_staleness: the number of gathers that run ahead.
        service_url: a service whose judge has the parts' seconds and places.
        measured: the number of steps to measure.
        waits_for_all: whether groups are ranked only when all of a step are played.
    """
    watch, first = Watch(), 2 * (max_staleness + 1)
    steps = first + measured + max_staleness
    with tempfile.TemporaryDirectory() as name, sampler_server(parts) as sampler_url:
        config = recipe(Path(name), service_url, sampler_url, max_staleness, steps)
        with open_trainer(config, watch) as trainer:
            slow = SlowUpdate(parts.update_s, trainer.sync)
            trainer.updating, trainer.sync = slow.begin, slow
            if waits_for_all:
                trainer.gatherer.rollout = wait_for_all(trainer)
            trainer.run()
    rows = watch.rows[first + 1 : first + measured + 1]
    spent_s = watch.done_at[first + measured] - watch.done_at[first]
    idle = {
        part: sum(float(row[f"{part}_idle"] or 0) for row in rows) / len(rows)
        for part in ("rollout", "rank", "update")
    }
    oldest = max(int(row["staleness_max"] or 0) for row in watch.rows)
    bound_s = parts.bound_s(max_staleness)
    return Cell(kind, max_staleness, spent_s / measured, bound_s, oldest, idle)


def wait_for_all(trainer: Trainer) -> Rollout:
    """Return the trainer's rollout, but for the moment when its groups are handed on."""
    own = trainer.rollout
    return WaitForAll(
        own.task, own.chat, own.sampler, own.world.tools,
        environments=own.world.environments, max_tokens=own.max_tokens, context=own.context,
    )  # fmt: skip


def recipe(
    folder: Path, service_url: str, sampler_url: str, max_staleness: int, steps: int
) -> TrainConfig:
    save_model(folder / "model", seed=0)
    return TrainConfig.model_validate({
        "model": {"path": str(folder / "model"), "device": "cpu", "autocast": False},
        "task": {"name": "addition", "options": {"held_out": 0}},
        "out": folder / "run",
        "steps": steps,
        "service": {"url": service_url},
        "sampler": {"kind": "vllm", "urls": [sampler_url], "max_tokens": 6, "parity_bound": 1e3},
        "rollout": {
            "prompts_per_step": PROMPTS, "group_size": GROUP_SIZE, "max_refills": 0,
            "max_staleness": max_staleness,
        },
        "loss": {"sequence_ratio_bounds": None},
        "optimizer": {"lr": 1e-6},
        "eval": {"every": 0},
        "log": {"samples_every": 0},
        "checkpoint": {"every": steps},
    })  # fmt: skip
