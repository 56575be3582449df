"""Does TRL learn from `PodiumReward` what `podium-train` learns from the same service?

    python -m benchmarks.trl_learning --trl-python PYTHON [--seeds 2] [--steps 24]

SmolLM2 on `addition` with the service's `checks` judge, by both trainers: the same prompts in the
same order, group size, optimizer, learning rates and number of steps, one thread each, and the same
code tries the held-out prompts. The draws differ, because each trainer samples by itself. TRL
(`tests/integrations/trl/requirements.txt`) lives in an environment of its own, with Podium's client
and trainer.

Prints the held-out score over steps; writes the runs as JSON after each one, and a picture. About
20 minutes a seed on one core, most of it TRL.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.held_out import look
from benchmarks.machine import machine
from benchmarks.trl_learning.job import Job, addition
from benchmarks.trl_learning.plot import COLORS, draw, held_out
from podium_trainer.run.build import open_trainer
from podium_trainer.run.cli import silence_libraries
from podium_trainer.run.demo import podium_service

MODEL = ".models/smollm2-135m-instruct"
ROOT = Path(__file__).parents[2]
PACKAGES = ("podium", "torch", "transformers")

Run = dict[str, Any]


class Quiet:
    """A display that shows nothing."""

    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...

    def note(self, text: str) -> None: ...

    def step_done(self, step: int, row: Any, timing: Any) -> None: ...

    def groups(self, step: int, groups: Any) -> None: ...


def podium_side(job: Job) -> Run:
    """Train by the loop of `podium-train`, in this process."""
    recipe = job.recipe
    with open_trainer(recipe, Quiet()) as trainer:

        def tried() -> Run:
            samples = job.eval_samples
            return look(
                trainer.task, trainer.rollout, trainer.step, samples=samples, seed=recipe.seed
            )

        looks = [tried()]
        while trainer.step < recipe.steps:  # not `run`, which would write checkpoints
            trainer.one_step()
            if job.is_look_due(trainer.step):
                looks.append(tried())
    return {"looks": looks, "versions": {name: version(name) for name in PACKAGES}}


def trl_side(job: Job, python: Path) -> Run:
    """Train by TRL, in a process of its own environment."""
    path = os.pathsep.join(str(ROOT / each) for each in ("", "trainer_client"))
    done = subprocess.run(
        [python, "-m", "benchmarks.trl_learning.trl_side", job.model_dump_json()],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"the run of TRL ended with status {done.returncode}")
    run: Run = json.loads(done.stdout.splitlines()[-1])
    return run


def show(runs: list[Run]) -> None:
    table = Table("trainer", "seed", *(str(each["step"]) for each in runs[0]["looks"]), "seconds")
    for run in runs:
        scores = [f"{score:.3f}" for score in held_out(run)]
        table.add_row(run["trainer"], str(run["seed"]), *scores, f"{run['wall_s']:.0f}")
    Console(width=160).print(table)


def main(
    trl_python: Annotated[Path, typer.Option(help="Python of an environment with TRL.")],
    model: Annotated[str, typer.Option(help="Folder of the policy to start from.")] = MODEL,
    seeds: int = 2,
    steps: int = 24,
    prompts: Annotated[int, typer.Option(help="Prompts of a step.")] = 8,
    group_size: int = 8,
    eval_every: int = 6,
    eval_samples: Annotated[int, typer.Option(help="Attempts at a held-out prompt.")] = 4,
    out: Annotated[Path, typer.Option(help="The file with all runs.")] = Path(
        "benchmarks/results/trl_learning.json"
    ),
    plot: Annotated[Path, typer.Option(help="The picture to write.")] = Path(
        "docs/trl-learning.png"
    ),
) -> None:
    """Train with both trainers, then print, write and draw what was learnt."""
    torch.set_num_threads(1)
    silence_libraries()
    runs: list[Run] = []
    for seed, trainer in product(range(seeds), COLORS):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as name, podium_service(Path(name)) as url:
            recipe = addition(
                str(Path(model).resolve()), url, Path(name) / "run", seed=seed, steps=steps,
                prompts_per_step=prompts, group_size=group_size,
            )  # fmt: skip
            job = Job(recipe=recipe, eval_every=eval_every, eval_samples=eval_samples)
            run = trl_side(job, trl_python) if trainer == "TRL" else podium_side(job)
        seconds = round(time.monotonic() - started, 1)
        runs.append({"trainer": trainer, "seed": seed, "wall_s": seconds, **run})
        print(trainer, seed, [round(score, 3) for score in held_out(runs[-1])], flush=True)
        rollout = {"prompts": prompts, "group_size": group_size, "eval_samples": eval_samples}
        setup = {"steps": steps, **rollout, "lr": recipe.optimizer.lr}
        write(out, {**machine(), "setup": setup, "runs": runs})
    show(runs)
    draw(runs, plot)


def write(path: Path, results: Run) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
