"""Record groups of answers at stages of training -> `data/addition_rollouts.jsonl`.

    OMP_NUM_THREADS=1 python -m benchmarks.record_rollouts [--model DIR] [--out FILE]

SmolLM2 is trained on `addition` by the exact reward, as the recipe does it, on half of the
problems. After each step it answers the other half twice. Where the share of right answers reaches
a stage's for the first time, it answers each problem in two groups of 8, which are kept. A line is
one group: `{stage, share, step, sample, prompt, reference, answers, finish_reasons, right}`; the
example that all prompts share is left out. The problems differ within a `sample`; the other sample
asks the same ones again.

About 5 minutes on one core. To add a stage: enter its share in `STAGES`, and record again.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from podium_trainer.config import TrainConfig
from podium_trainer.records.metrics import Row
from podium_trainer.run.build import open_trainer
from podium_trainer.run.cli import silence_libraries
from podium_trainer.run.demo import podium_service
from podium_trainer.run.recipe import read_recipe
from podium_trainer.train import Trainer
from podium_trainer.update.groups import RankedGroup

MODEL = ".models/smollm2-135m-instruct"
ROLLOUTS = Path(__file__).with_name("data") / "addition_rollouts.jsonl"
STAGES = (0.05, 0.3, 0.6, 0.85)
MAX_STEPS = 60
HELD_OUT = 48
SAMPLES = 2
GROUP_SIZE = 8
LOOK_SIZE = 2

Line = dict[str, Any]


class Silent:
    """A watcher that shows nothing."""

    def phase(self, name: str, done: int = 0, total: int = 0) -> None: ...

    def note(self, text: str) -> None: ...

    def step_done(self, step: int, row: Row, timing: Row) -> None: ...

    def groups(self, step: int, groups: Sequence[RankedGroup]) -> None: ...


def record(model: str, folder: Path, seed: int) -> Iterator[Line]:
    """Train until the last stage is reached; yield the groups of each stage."""
    recipe = read_recipe("addition")
    with podium_service(folder) as url:
        config = TrainConfig.model_validate({
            **recipe,
            "model": {"path": model},
            "task": {"name": "addition", "options": {"held_out": HELD_OUT}},
            "out": folder / "run",
            "steps": MAX_STEPS,
            "seed": seed,
            "service": {"url": url},
            "eval": {"every": 0},
            "log": {"samples_every": 0},
        })  # fmt: skip
        with open_trainer(config, Silent()) as trainer:
            yield from _stages(trainer)


def _stages(trainer: Trainer) -> Iterator[Line]:
    left = list(STAGES)
    while left and trainer.step <= MAX_STEPS:
        share = _share(_groups(trainer, "look", LOOK_SIZE))
        print(f"step {trainer.step}: {share:.3f} right", flush=True)
        if share >= left[0]:
            yield from _stage(trainer, len(STAGES) - len(left))
            left.pop(0)
        if left:
            trainer.one_step()  # not `run`, which would write checkpoints


def _stage(trainer: Trainer, stage: int) -> Iterator[Line]:
    samples = [_groups(trainer, sample, GROUP_SIZE) for sample in range(SAMPLES)]
    share = _share([line for lines in samples for line in lines])
    print(f"stage {stage}: {share:.3f} right", flush=True)
    head = {"stage": stage, "share": round(share, 3), "step": trainer.step}
    yield from (head | line for lines in samples for line in lines)


def _share(lines: Sequence[Line]) -> float:
    return statistics.fmean(value for line in lines for value in line["right"])


def _groups(trainer: Trainer, sample: int | str, size: int) -> list[Line]:
    """Return one group for each held-out problem."""
    prompts = trainer.task.held_out[:HELD_OUT]
    seed = f"{trainer.config.seed}/{trainer.step}/record {sample}"
    played = trainer.rollout.sample_groups(prompts, size, seed=seed)
    return [
        {
            "sample": sample,
            "prompt": prompt.messages[-1]["content"],
            "reference": prompt.reference,
            "answers": [each.messages[-1]["content"] for each in attempts],
            "finish_reasons": [each.finish_reason for each in attempts],
            "right": [int(trainer.task.score(prompt, each.messages) or 0.0) for each in attempts],
        }
        for prompt, attempts in zip(prompts, played, strict=True)
    ]


def main(
    model: Annotated[str, typer.Option(help="Folder of the policy to start from.")] = MODEL,
    out: Annotated[Path, typer.Option(help="The file to write.")] = ROLLOUTS,
    seed: int = 0,
) -> None:
    """Train, and write the groups of each stage."""
    torch.set_num_threads(1)
    silence_libraries()
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps(line, ensure_ascii=False) for line in record(model, Path(folder), seed)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
