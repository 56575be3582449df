"""Leave out the prompts that are too long for the model's context, and count them."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from podium_trainer.rollout.rollout import PromptTooLong, Rollout
from podium_trainer.run.checks.parity import NUM_PROMPTS
from podium_trainer.tasks.task import Prompt, Task

log = logging.getLogger("podium_trainer")


def fit_prompts(task: Task, rollout: Rollout) -> tuple[Task, list[list[int]]]:
    """Return the task without the prompts that are too long, and the tokens of the first few.

    What is left out, and what the task says of itself, is logged as warnings.

    Raises:
        PromptTooLong: If no prompt to train on is left.
    """
    for note in task.notes:
        log.warning("%s", note)
    first: list[list[int]] = []
    train = _fitting(task.train, rollout, first)
    held_out = _fitting(task.held_out, rollout, first)
    dropped = len(task.train) + len(task.held_out) - len(train) - len(held_out)
    if not train:
        rollout.prompt_ids(min(task.train, key=lambda prompt: len(str(prompt.messages))))
        raise PromptTooLong(f"each of {len(task.train)} prompts to train on is too long")
    if dropped:
        log.warning(
            "%d of %d prompts to train on and %d of %d held-out ones were left out: with"
            " sampler.max_tokens %d they exceed the context of %d tokens",
            len(task.train) - len(train), len(task.train), len(task.held_out) - len(held_out),
            len(task.held_out), rollout.max_tokens, rollout.context,
        )  # fmt: skip
    return replace(task, train=train, held_out=held_out, too_long=dropped), first


def _fitting(prompts: Sequence[Prompt], rollout: Rollout, first: list[list[int]]) -> list[Prompt]:
    """Return the prompts that fit; the tokens of the first of them are added to `first`."""
    kept = []
    for prompt in prompts:
        try:
            ids = rollout.prompt_ids(prompt)
        except PromptTooLong:
            continue
        kept.append(prompt)
        if len(first) < NUM_PROMPTS:
            first.append(ids)
    return kept
