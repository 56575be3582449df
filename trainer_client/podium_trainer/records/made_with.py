"""Say what a checkpoint was made with, and how what a run would go on with differs from it.

Compared is all that decides what is learnt: every setting that is not in FREE, and the task's
prompts and tools by a hash of their content. To let a setting change without a word, enter it in
FREE, or its section for all of its settings.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from podium_trainer.config import TrainConfig
from podium_trainer.tasks.task import Prompt, Task

FREE = (
    "out", "steps", "ray", "ranks", "max_idle_steps", "max_skipped_steps", "log", "checkpoint",
    "model.device", "model.autocast", "model.gradient_checkpointing",
    "task.options", "task.tool_timeout_s",  # what the options come to is compared
    "service.url", "service.deadline_s",
    "sampler",  # except SAMPLED
    "environment",
    "optimizer.micro_batch_tokens",
    "eval.every", "eval.samples", "eval.win_rate",
)  # fmt: skip
SAMPLED = ("temperature", "max_tokens")
MAX_SHOWN = 100


def describe(config: TrainConfig, task: Task) -> dict[str, Any]:
    """Return what decides what a run learns, as JSON values by the names of settings.

    Args:
        config: the settings as the user gave them.
        task: all prompts, those that are too long included.
    """
    found = dict(flatten(config))
    found |= {f"sampler.{name}": getattr(config.sampler, name) for name in SAMPLED}
    if Path(config.model.path).is_dir():
        found["model.path"] = str(Path(config.model.path).resolve())
    return found | {
        "task.train": describe_prompts(task.train),
        "task.held_out": describe_prompts(task.held_out),
        "task.tools": describe_values([tool.definition() for tool in task.tools]),
        "task.max_turns": task.max_turns,
    }


def flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the JSON value of each setting that is not in FREE."""
    values = section.model_dump(mode="json")
    for name, value in values.items():
        inner = getattr(section, name)
        if f"{prefix}{name}" in FREE:
            continue
        if isinstance(inner, BaseModel):
            yield f"{prefix}{name}", "set"
            yield from flatten(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def describe_prompts(prompts: Sequence[Prompt]) -> str:
    """Say how many prompts there are, and a hash of all that a model or a judge sees of them."""
    return describe_values([[p.id, list(p.messages), p.task, p.reference] for p in prompts])


def describe_values(values: Sequence[Any]) -> str:
    """Say how many JSON values there are, and a hash of them in their order."""
    total = hashlib.sha256()
    for value in values:
        total.update(json.dumps(value, sort_keys=True, default=str).encode() + b"\n")
    return f"{len(values)} with SHA-256 {total.hexdigest()[:12]}" if values else "none"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each value that differs, and a line with both values.

    A name that only one of them has belongs to another version of Podium, or to a section that is
    set in only one of them, and is passed over.
    """
    return [
        (name, f"{name} is {shown(now[name])} and was {shown(then[name])}")
        for name in now
        if name in then and now[name] != then[name]
    ]


def shown(value: Any) -> str:
    """Return a value in one line that is not too long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 4] + " ..."
