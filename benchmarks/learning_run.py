"""One arm and one seed -> a run's record: what was learnt, and what the judge was paid for it.

A simulated judge behind HTTP, `podium serve` with a store of its own, and the trainer. To add an
arm: enter it in `ARMS`, with what the judges file says of its judge.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from anyio.from_thread import start_blocking_portal

from benchmarks.held_out import entropy, look
from benchmarks.judges.fit import fitted
from benchmarks.judges.server import serving
from benchmarks.sums import SumJudge
from podium_trainer.config import TrainConfig
from podium_trainer.records.metrics import Row
from podium_trainer.run.build import open_trainer
from podium_trainer.run.demo import READY_S, wait_for_url
from podium_trainer.run.recipe import read_recipe
from podium_trainer.train import Trainer
from podium_trainer.update.groups import RankedGroup

Record = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A way from verdicts to advantages.

    Attributes:
        judge: what the judges file says beside model and URL.
        advantages: the trainer's scheme.
        is_exact: whether the simulated judge is one without noise and bias.
        lr: the learning rate; chosen by `--tune` on seeds that are not compared.
    """

    judge: dict[str, Any]
    advantages: str = "mean"
    is_exact: bool = False
    lr: float = 2e-5


# One long prompt with explanations, one order, scores as they come.
RULER = {"passes": 1, "audit": 0, "reward": "score", "prompt": "long", "explanations": "before"}

ARMS = {
    "ruler std": Arm(RULER, advantages="group_std"),
    "ruler mean": Arm(RULER),
    "default mean": Arm({}),
    "default std": Arm({}, advantages="group_std"),
    "short mean": Arm({"prompt": "short"}),
    "4 passes mean": Arm({"passes": 4}),
    "4 passes std": Arm({"passes": 4}, advantages="group_std"),
    "best of mean": Arm({"method": "best_of", "passes": 2}),
    "best of std": Arm({"method": "best_of", "passes": 2}, advantages="group_std"),
    "oracle": Arm({"passes": 1, "audit": 0, "reward": "score"}, is_exact=True),
}


@dataclass(frozen=True)
class Setup:
    """Settings that all arms and seeds share.

    Attributes:
        model: folder of the policy to start from.
        judge: whose noise and slot bias, a name of `judges/fitted.json`.
        grid: step of the judge's scores.
        steps, prompts_per_step, group_size: the rollouts; groups are not replaced.
        eval_every: steps between looks at the held-out prompts, besides the first and the last.
        eval_samples: attempts at each of them.
    """

    model: str
    judge: str = "ChatGPT/median"
    grid: float = 0.05
    steps: int = 40
    prompts_per_step: int = 8
    group_size: int = 8
    eval_every: int = 5
    eval_samples: int = 4

    def traits(self, arm: Arm) -> dict[str, Any]:
        """Return the settings of the arm's simulated judge."""
        if arm.is_exact:
            return {"noise_sd": 0.0, "grid": self.grid}
        return fitted()[self.judge].traits() | {"grid": self.grid}

    def recipe(self, arm: Arm, seed: int, folder: Path, service: str) -> TrainConfig:
        """Return the recipe `addition` with its judge, and equally many rollouts for every arm."""
        recipe = read_recipe("addition")
        return TrainConfig.model_validate({
            **recipe,
            "model": {"path": self.model},
            "task": {"name": "benchmarks.sums:fresh_addition"},
            "out": folder / "run",
            "steps": self.steps,
            "seed": seed,
            "service": {"url": service},
            "rollout": {
                "prompts_per_step": self.prompts_per_step,
                "group_size": self.group_size,
                "max_refills": 0,
            },
            "loss": {"advantages": arm.advantages},
            "optimizer": recipe["optimizer"] | {"lr": arm.lr},
            "eval": {"every": 0},
            "log": {"samples_every": 1},
            "max_idle_steps": self.steps + 1,
        })  # fmt: skip


def run_once(setup: Setup, name: str, seed: int, lr: float | None = None) -> Record:
    """Train one arm with one seed, at the arm's own learning rate unless another is given.

    Returns:
        A record that JSON can hold.
    """
    arm = ARMS[name] if lr is None else replace(ARMS[name], lr=lr)
    started = time.monotonic()
    judge = SumJudge(seed, **setup.traits(arm))
    with (
        tempfile.TemporaryDirectory() as folder,
        judge_server(judge) as judge_url,
        ranking_service(arm, judge_url, Path(folder)) as service,
    ):
        config = setup.recipe(arm, seed, Path(folder), service)
        steps, looks = trained(config, setup)
    return {
        "arm": name,
        "seed": seed,
        "lr": arm.lr,
        "setup": asdict(setup),
        "wall_s": round(time.monotonic() - started, 1),
        "steps": steps,
        "looks": looks,
    }


@contextmanager
def judge_server(judge: SumJudge) -> Iterator[str]:
    """Yield the judge's base URL; a thread of this process answers, and is waited for."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving({"sums": judge})) as base_urls,
    ):
        yield base_urls["sums"]


@contextmanager
def ranking_service(arm: Arm, judge_url: str, folder: Path) -> Iterator[str]:
    """Run `podium serve` with the arm's judge and an empty store; yield its URL."""
    judges, log = folder / "judges.yaml", folder / "service.log"
    main = {"model": "sums", "base_urls": [judge_url], **arm.judge}
    judges.write_text(yaml.safe_dump({"default_judge": "main", "judges": {"main": main}}))
    command = [
        sys.executable,
        "-P",
        "-m",
        "podium_service",
        "serve",
        "--port",
        "0",
        "--drain-s",
        "0",
    ]
    command += ["--config", str(judges), "--store", str(folder / "podium.db")]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        yield wait_for_url(process, log)
    finally:
        process.terminate()
        process.wait(READY_S)


def trained(config: TrainConfig, setup: Setup) -> tuple[list[Record], list[Record]]:
    """Return each step's row, and what was seen of the held-out prompts along the way."""
    notes = Notes()
    with open_trainer(config, notes) as trainer:
        looks = [look_at(trainer, setup.eval_samples)]
        while trainer.step < config.steps:  # not `run`, which would write checkpoints
            trainer.one_step()
            if trainer.step % setup.eval_every == 0 or trainer.step == config.steps:
                looks.append(look_at(trainer, setup.eval_samples))
    return notes.steps, looks


def look_at(trainer: Trainer, samples: int) -> Record:
    """Try the held-out prompts of a trainer's task."""
    seed = trainer.config.seed
    return look(trainer.task, trainer.rollout, trainer.step, samples=samples, seed=seed)


@dataclass
class Notes:
    """A watcher that keeps one row a step."""

    steps: list[Record] = field(default_factory=list)

    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...

    def note(self, text: str) -> None: ...

    def step_done(self, step: int, row: Row, timing: Row) -> None:
        self.steps.append({
            "step": step,
            "groups": row["groups"],
            "failed": row["groups_failed"],
            "signal": row["groups_trained"],
            "calls": timing["judge_calls"],
            "tokens": timing["judge_tokens"],
        })  # fmt: skip

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None:
        """Add what groups show, after `step_done`; mixed ones have right and wrong answers."""
        right = [right_share(group) for group in groups]
        attempts = [attempt for group in groups for attempt in group.attempts]
        self.steps[-1] |= {
            "right": round(statistics.fmean(right), 4),
            "mixed": sum(0 < share < 1 for share in right),
            "entropy": round(entropy(attempts), 4),
        }


def right_share(group: RankedGroup) -> float:
    said = [str(attempt.messages[-1]["content"]) for attempt in group.attempts]
    return statistics.fmean(
        float(each.strip().removesuffix(".").rstrip() == group.prompt.reference) for each in said
    )
