"""Train SmolLM2 on questions with rewards from one simulated judge, and compare by another one.

The training's judge prefers one whole, short sentence, through noise and liking for places as
fitted to recorded judges; that of the control has noise alone. Both are asked over HTTP through
`podium serve`. The judge that compares has the same preference and other noise.
"""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from anyio.from_thread import start_blocking_portal

from benchmarks.judges.fit import fitted
from benchmarks.judges.server import serving
from benchmarks.judges.simulated import SimulatedJudge, TruthOf
from podium_trainer.config import TrainConfig
from podium_trainer.display.watch import Lines
from podium_trainer.evaluation.win_rate import interval
from podium_trainer.records.metrics import read_rows
from podium_trainer.run.build import open_trainer
from podium_trainer.run.demo import podium_service
from podium_trainer.tasks.questions import questions
from podium_trainer.tasks.task import Task

TRAINING, COMPARING = "ChatGPT/best", "PaLM2/median"  # in benchmarks/judges/fitted.json
GRID = 0.05
FEW_WORDS = 6
ARMS = ("preference", "random")
_SAID = re.compile(r'<message role="assistant">\n?(.*?)\n?</message>', re.DOTALL)
_SENTENCE = re.compile(r"[A-Z][^.!?\n]*[.!]")

Record = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """The size of a run.

    Attributes:
        model: folder of the policy to start from.
        steps, every: steps of training, and from one win rate to the next.
        prompts_per_step, group_size: rollouts of a step.
        prompts, samples: held-out prompts, and attempts at each of them, of a win rate.
        lr: learning rate.
    """

    model: str
    steps: int = 20
    every: int = 5
    prompts_per_step: int = 8
    group_size: int = 6
    prompts: int = 24
    samples: int = 3
    lr: float = 5e-6


def without_score(held_out: int = 24) -> Task:
    """Make the task `questions` without its list of answers."""
    whole = questions(held_out)
    return Task(whole.train, whole.held_out)


def preference(body: str) -> float:
    """Return how well a judge likes an answer, from -2 to 1.

    It is 1 for one whole sentence of few words; it loses a point without an end, and up to two for
    more words.
    """
    said = (_SAID.findall(body) or [body])[-1].strip()
    too_many = max(0, len(said.split()) - FEW_WORDS) / 4
    return (1.0 if _SENTENCE.fullmatch(said) else 0.0) - min(2.0, too_many)


def indifference(body: str) -> float:
    """Like every answer as well as any other."""
    return 0.0


def judge(truth_of: TruthOf, name: str, seed: int) -> SimulatedJudge:
    """Make a judge with the traits that were fitted to a recorded one."""
    return SimulatedJudge(truth_of, seed=seed, **(fitted()[name].traits() | {"grid": GRID}))


@contextmanager
def service(arm: str, seed: int, folder: Path) -> Iterator[str]:
    """Serve the judges and `podium serve`; yield its URL."""
    truth = preference if arm == "preference" else indifference
    judges = {
        "training": judge(truth, TRAINING, seed),
        "comparing": judge(preference, COMPARING, seed + 1000),
    }
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(judges)) as urls,
    ):
        told: Record = {
            name: {"model": name, "base_urls": [urls[name]], "method": "listwise"}
            for name in judges
        }
        told["comparing"]["passes"] = 2  # an order and its reverse
        path = folder / "judges.yaml"
        path.write_text(yaml.safe_dump({"default_judge": "training", "judges": told}))
        with podium_service(folder, "--config", str(path)) as url:
            yield url


def run_once(arm: str, seed: int, setup: Setup) -> Record:
    """Train one arm with one seed, and return its win rates."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, service(arm, seed, Path(name)) as url:
        config = recipe(setup, seed, url, Path(name) / "run")
        watcher = Lines(config, sys.stderr)
        with open_trainer(config, watcher) as trainer:
            watcher.begin()
            trainer.run()
        rows = read_rows(config.out / "metrics.jsonl")
        timings = read_rows(config.out / "timings.jsonl")
    return {
        "arm": arm,
        "seed": seed,
        "wall_s": round(time.monotonic() - started, 1),
        "judge_calls": sum(row["judge_calls"] for row in timings),
        "eval_judge_calls": sum(row["eval_judge_calls"] for row in timings),
        "win_rates": [win_rate(row) for row in rows if row["win_rate"] is not None],
        "steps": [
            {key: row[key] for key in ("step", "reward_mean", "completion_tokens", "entropy")}
            for row in rows
        ],
    }


def win_rate(row: Record) -> Record:
    """Return a row's win rate with its 95% interval."""
    low, high = interval(row["win_rate"], row["win_rate_stderr"], row["win_rate_prompts"])
    names = ("step", "win_rate", "win_rate_stderr", "win_rate_prompts", "win_rate_failed")
    return {name: row[name] for name in names} | {"low": low, "high": high}


def recipe(setup: Setup, seed: int, service_url: str, out: Path) -> TrainConfig:
    """Return the recipe `questions` without its score, and with another judge to compare."""
    return TrainConfig.model_validate({
        "model": {"path": setup.model, "device": "cpu"},
        "task": {
            "name": "benchmarks.judged_only.runs:without_score",
            "options": {"held_out": setup.prompts},
        },
        "out": out,
        "steps": setup.steps,
        "seed": seed,
        "service": {"url": service_url},
        "sampler": {"temperature": 0.8, "max_tokens": 16},
        "rollout": {
            "prompts_per_step": setup.prompts_per_step,
            "group_size": setup.group_size,
            "max_refills": 0,
        },
        "optimizer": {"lr": setup.lr, "warmup_steps": 2},
        "eval": {
            "every": setup.every,
            "judge": "comparing",
            "win_rate": {"prompts": setup.prompts, "samples": setup.samples},
        },
        "log": {"samples_every": 0},
        "checkpoint": {"every": setup.steps, "keep": 1},
        "max_idle_steps": setup.steps + 1,
    })  # fmt: skip
