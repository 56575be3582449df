"""What both trainers are told; this module is read in the environments of both."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from podium_trainer.config import TrainConfig
from podium_trainer.run.recipe import read_recipe


class Job(BaseModel):
    """One run of either trainer.

    Attributes:
        recipe: model, task, prompts, group size, optimizer and service.
        eval_every: steps between looks at the held-out prompts, besides the first and the last.
        eval_samples: attempts at each of them.
    """

    recipe: TrainConfig
    eval_every: int
    eval_samples: int

    def is_look_due(self, step: int) -> bool:
        return step % self.eval_every == 0 or step == self.recipe.steps


def addition(
    model: str, url: str, out: Path, *, seed: int, steps: int, **sizes: int
) -> TrainConfig:
    """Return the recipe `addition` with as many rollouts in each step, whatever their rewards.

    Args:
        model: folder of the policy to start from.
        url: the URL of the service.
        out: folder for the files of the run.
        seed: of the order of prompts and the draws.
        steps: number of steps.
        sizes: fields of `rollout`.
    """
    recipe: dict[str, Any] = read_recipe("addition")
    return TrainConfig.model_validate({
        **recipe,
        "model": {"path": model},
        "out": out,
        "seed": seed,
        "steps": steps,
        "service": {"url": url},
        "rollout": {**recipe["rollout"], **sizes, "max_refills": 0},
        "eval": {"every": 0},
        "log": {"samples_every": 0},
        "max_idle_steps": steps + 1,
    })  # fmt: skip
