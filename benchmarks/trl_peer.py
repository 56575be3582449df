"""TRL's side of `benchmarks.trainer`. Runs in an environment of its own:

    python benchmarks/trl_peer.py '{"model": DIR, "prompts": [...], ...}'

Prints one JSON line: CPU seconds of each step and of its generation, seconds, peak memory.
"""

import json
import os
import resource
import sys
import time
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

JOB: dict[str, Any] = json.loads(sys.argv[1])


def reward(completions: list[Any], **_: Any) -> list[float]:
    """Return rewards that cost nothing and differ within a group."""
    return [float(i % JOB["group_size"]) for i in range(len(completions))]


class Timed(GRPOTrainer):  # type: ignore[misc]  # no TRL beside mypy
    generation_cpu_s = 0.0
    generation_s = 0.0

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            return super()._generate(*args, **kwargs)
        finally:
            self.generation_cpu_s += time.process_time() - cpu
            self.generation_s += time.perf_counter() - wall


class Steps(TrainerCallback):
    def __init__(self) -> None:
        self.trainer: Timed | None = None
        self.marks: list[tuple[float, float, float, float]] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        assert self.trainer is not None
        spent = self.trainer.generation_cpu_s, self.trainer.generation_s
        self.marks.append((time.process_time(), time.perf_counter(), *spent))


def main() -> None:
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(JOB["model"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in JOB["prompts"]]
    rows = rows * (JOB["steps"] + 2)
    rows_of_a_step = len(JOB["prompts"]) * JOB["group_size"]
    config = GRPOConfig(
        output_dir=JOB["out"], per_device_train_batch_size=rows_of_a_step,
        gradient_accumulation_steps=1, num_generations=JOB["group_size"],
        max_completion_length=JOB["max_tokens"], temperature=1.0, top_p=1.0, top_k=0,
        generation_kwargs={"min_new_tokens": JOB["max_tokens"]},
        beta=0.0, loss_type="dapo", scale_rewards="none", learning_rate=1e-6, max_grad_norm=1.0,
        max_steps=JOB["steps"], use_cpu=True, bf16=JOB["bf16"], gradient_checkpointing=False,
        shuffle_dataset=False, report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    steps = Steps()
    trainer = Timed(
        model=model, reward_funcs=reward, args=config, processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows), callbacks=[steps],
    )  # fmt: skip
    steps.trainer = trainer
    trainer.train()
    pairs = zip(steps.marks, steps.marks[1:], strict=False)
    deltas = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairs]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"steps": deltas, "peak_mib": peak}))


main()
