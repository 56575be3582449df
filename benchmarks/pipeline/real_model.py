"""Step time of a real model on a real vLLM server, with a judge that takes chosen seconds.

    VLLM_CPU_KVCACHE_SPACE=2 OMP_NUM_THREADS=1 python -m benchmarks.pipeline.real_model --model DIR
        --vllm-python PATH [--judge-s 2] [--json benchmarks/results/pipeline_real.json]

Trains on `addition` with one vLLM server that all runs share: in turns (all groups are played, then
all are ranked, then the update), ranked as they are played (`rollout.max_staleness: 0`), and one
step ahead (`1`). Prints seconds of a step and of its parts. Four minutes on two idle cores.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.pipeline.measuring import Watch, wait_for_all
from benchmarks.processes import judge_server, service
from podium_trainer.config import TrainConfig
from podium_trainer.run.build import open_trainer
from podium_trainer.run.cli import silence_libraries
from podium_trainer.samplers.launch.launcher import Launcher
from podium_trainer.samplers.launch.open import planned

START_S = 600.0
PARTS = ("rollout", "rank", "update", "sync")


@dataclass(frozen=True)
class Way:
    """Order in which the parts of a step follow each other.

    Attributes:
        max_staleness: the number of gathers that run ahead.
        waits_for_all: whether groups are ranked only when all of a step are played.
    """

    max_staleness: int
    waits_for_all: bool = False


WAYS = {
    "in turns": Way(0, waits_for_all=True),
    "ranked as they are played": Way(0),
    "one step ahead": Way(1),
}


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        way: its name in WAYS.
        steps_s: the seconds of each step, without the first and the last ones.
        parts_s: mean seconds of each part of these steps; parts may overlap.
        staleness: the largest number of updates by which a token was too old.
    """

    way: str
    steps_s: list[float]
    parts_s: dict[str, float]
    staleness: int

    @property
    def step_s(self) -> float:
        """The median seconds of a step."""
        return statistics.median(self.steps_s)


def recipe(model: Path, out: Path, **sections: object) -> TrainConfig:
    return TrainConfig.model_validate({
        "model": {"path": str(model), "device": "cpu", "autocast": False},
        "task": {"name": "addition", "options": {"held_out": 0}},
        "out": out,
        "optimizer": {"lr": 1e-6},
        "eval": {"every": 0},
        "log": {"samples_every": 0},
        **sections,
    })  # fmt: skip


def run(
    way: str,
    steps: int,
    model: Path,
    server_url: str,
    service_url: str,
    *,
    parity_bound: float = 0.05,
) -> Measured:
    """Train for as many steps as are measured, and those that fill and empty the pipeline.

    Args:
        way: its name in WAYS.
        steps: the number of steps to measure.
        model: the folder of the policy.
        server_url: a vLLM server with this model.
        service_url: a service.
        parity_bound: as of the trainer's setting.
    """
    ahead, watch = WAYS[way].max_staleness, Watch()
    first, last = 1 + ahead, 1 + ahead + steps
    with tempfile.TemporaryDirectory() as name:
        config = recipe(
            model, Path(name), steps=last + ahead,
            service={"url": service_url},
            sampler={
                "kind": "vllm", "urls": [server_url], "max_tokens": 32,
                "parity_bound": parity_bound,
            },
            rollout={
                "prompts_per_step": 4, "group_size": 4, "max_refills": 0, "max_staleness": ahead,
            },
            checkpoint={"every": last + ahead},
        )  # fmt: skip
        with open_trainer(config, watch) as trainer:
            if WAYS[way].waits_for_all:
                trainer.gatherer.rollout = wait_for_all(trainer)
            trainer.run()
    rows, times = watch.rows[first + 1 : last + 1], watch.done_at[first : last + 1]
    spent = {
        part: statistics.fmean(float(row.get(f"{part}_s") or 0) for row in rows) for part in PARTS
    }
    oldest = max(int(row["staleness_max"] or 0) for row in watch.rows)
    steps_s = [after - before for before, after in pairwise(times)]
    return Measured(way, steps_s, spent, oldest)


def measure(
    model: Path, vllm_python: Path, judge_s: float, steps: int, folder: Path
) -> Iterator[Measured]:
    """Start a vLLM server, a judge and a service, and yield a run for each way."""
    options = {"dtype": "float32", "enforce-eager": True, "max-model-len": 512}
    launched = {"kind": "vllm", "launch": True, "vllm": {"python": vllm_python, "options": options}}
    with (
        planned(recipe(model, folder, sampler=launched)) as (plans, start),
        Launcher(plans, start=start, start_s=START_S, note=print) as launcher,
        judge_server(judge_s) as judge,
        service(judge.url) as podium,
    ):
        for way in WAYS:
            yield run(way, steps, model, launcher.urls[0], podium.url)


def table_of(found: list[Measured]) -> Table:
    table = Table("", "s a step: median (least to most)", *(f"{part}, s" for part in PARTS))
    for each in found:
        spread = f"{each.step_s:.2f} ({min(each.steps_s):.2f} to {max(each.steps_s):.2f})"
        table.add_row(each.way, spread, *(f"{each.parts_s[part]:.2f}" for part in PARTS))
    return table


def main(
    model: Annotated[Path, typer.Option(help="The policy.")],
    vllm_python: Annotated[Path, typer.Option(help="Python of an environment with vLLM.")],
    judge_s: Annotated[float, typer.Option(help="Seconds of a call to the judge.")] = 2.0,
    steps: Annotated[int, typer.Option(help="Steps to measure of each run.")] = 6,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write JSON.")] = None,
) -> None:
    """Print a row for each way."""
    torch.set_num_threads(1)
    silence_libraries()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        for each in measure(model, vllm_python, judge_s, steps, Path(folder)):
            print(f"{each.way}: {each.step_s:.2f} s", flush=True)
            found.append(each)
    Console(width=120).print(table_of(found))
    if json_path is not None:
        versions = {name: version(name) for name in ("torch", "transformers")}
        facts = machine() | {"libraries": versions, "model": model.name, "judge_s": judge_s}
        rows = [asdict(each) | {"step_s": each.step_s} for each in found]
        json_path.write_text(json.dumps(facts | {"ways": rows}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
