"""TRL's side. Runs in an environment of its own, beside Podium's client and trainer:

    python -m benchmarks.trl_learning.trl_side JOB

Prints one JSON line: what was seen of the held-out prompts, and versions. Model, optimizer, rate of
each step and held-out attempts are made by the code of `podium-train`; prompts come in its order.
"""

import json
import os
import sys
from importlib.metadata import version
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.held_out import look
from benchmarks.trl_learning.job import Job
from podium.integrations.trl import PodiumReward
from podium_trainer.config import TrainConfig
from podium_trainer.policy.load import has_fast_bfloat16, load_policy
from podium_trainer.policy.policy import Policy
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.run.learner import seed_everything
from podium_trainer.samplers.local import LocalSampler
from podium_trainer.tasks import open_task
from podium_trainer.tasks.task import PromptCursor, Task
from podium_trainer.update.learning_rate import learning_rate
from podium_trainer.update.optimizer import open_optimizer

PACKAGES = ("trl", "torch", "transformers")


class Looks(TrainerCallback):
    """Tries the held-out prompts before the first step and between others."""

    def __init__(self, job: Job, task: Task, policy: Policy) -> None:
        self.job = job
        self.task = task
        self.policy = policy
        self.seen: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.job.is_look_due(state.global_step):
            self._look(state.global_step)

    def _look(self, step: int) -> None:
        recipe, policy = self.job.recipe, self.policy
        sampler = LocalSampler(policy, temperature=recipe.sampler.temperature)
        with ToolRunner((), timeout_s=1) as tools:
            rollout = Rollout(
                self.task, policy.chat, sampler, tools,
                max_tokens=recipe.sampler.max_tokens, context=policy.context,
            )  # fmt: skip
            samples, seed = self.job.eval_samples, recipe.seed
            self.seen.append(look(self.task, rollout, step, samples=samples, seed=seed))


def rows(recipe: TrainConfig, task: Task) -> Dataset:
    """Return the prompts of all steps, in the order of `podium-train`."""
    cursor = PromptCursor(task.train, recipe.seed)
    prompts = cursor.take(recipe.steps * recipe.rollout.prompts_per_step)
    return Dataset.from_list(
        [{"prompt": [*each.messages], "answer": each.reference} for each in prompts]
    )


def settings(recipe: TrainConfig) -> GRPOConfig:
    rollout = recipe.rollout
    # One group at a time goes through the model; the step is one over all of them.
    return GRPOConfig(
        output_dir=str(recipe.out), seed=recipe.seed, max_steps=recipe.steps,
        per_device_train_batch_size=rollout.group_size,
        gradient_accumulation_steps=rollout.prompts_per_step, num_generations=rollout.group_size,
        max_completion_length=recipe.sampler.max_tokens,
        temperature=recipe.sampler.temperature, top_p=1.0, top_k=0,
        beta=0.0, loss_type="dapo", scale_rewards="none",
        max_grad_norm=recipe.optimizer.max_grad_norm,
        use_cpu=True, bf16=has_fast_bfloat16(torch.device("cpu")), gradient_checkpointing=False,
        shuffle_dataset=False, report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip


def main() -> None:
    job = Job.model_validate_json(sys.argv[1])
    recipe = job.recipe
    torch.set_num_threads(1)
    seed_everything(recipe.seed)
    task = open_task(recipe.task.name, recipe.task.options)
    policy = load_policy(recipe.model, temperature=recipe.sampler.temperature)
    optimizer = open_optimizer(recipe.optimizer, policy)
    base = recipe.optimizer.lr
    assert base is not None, "the recipe sets the learning rate"
    scheduler = LambdaLR(
        optimizer, lambda n: learning_rate(recipe.optimizer, n + 1, recipe.steps) / base
    )
    looks = Looks(job, task, policy)
    GRPOTrainer(
        model=policy.model,
        reward_funcs=PodiumReward(recipe.service.url, reference="answer"),
        args=settings(recipe),
        train_dataset=rows(recipe, task),
        processing_class=policy.chat.tokenizer,
        optimizers=(optimizer, scheduler),
        callbacks=[looks],
    ).train()
    versions = {name: version(name) for name in PACKAGES}
    print(json.dumps({"looks": looks.seen, "versions": versions}))


if __name__ == "__main__":
    main()
