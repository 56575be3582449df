"""Hold prompts out by their content, so that no prompt stands on both sides."""

import hashlib
import json
from collections.abc import Sequence

from podium_trainer.tasks.task import Prompt, TaskError


def hold_out(
    prompts: Sequence[Prompt], share: float, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """Split prompts into those to train on and a share that is held out.

    Which prompts are held out depends on their messages and the seed alone, neither on their order
    nor on their ids. Prompts with the same messages are on the same side.

    Args:
        prompts: P prompts.
        share: the share of distinct prompts to hold out, above 0 and below 1; at least one is held
            out, and at least one is not.
        seed: another seed holds out other prompts.

    Raises:
        TaskError: If the share is none, or there is only one distinct prompt.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise TaskError(
            f"task.options.held_out {share!r}: must be a share above 0 and below 1, a file, or the"
            " name of a split"
        )
    ordered = sorted({content_hash(prompt, seed) for prompt in prompts})
    if len(ordered) < 2:
        raise TaskError(
            f"task.options.held_out {share!r}: there is one distinct prompt, so none can be held"
            " out: add prompts, or set held_out to null"
        )
    count = min(max(1, round(share * len(ordered))), len(ordered) - 1)
    chosen = set(ordered[:count])
    sides: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in prompts:
        sides[content_hash(prompt, seed) in chosen].append(prompt)
    return sides


def without_shared(train: Sequence[Prompt], held_out: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts to train on whose messages are not those of a held-out prompt."""
    known = {content_hash(prompt, 0) for prompt in held_out}
    return [prompt for prompt in train if content_hash(prompt, 0) not in known]


def content_hash(prompt: Prompt, seed: int) -> str:
    """Hash a prompt's messages with a seed, the same in every process."""
    text = json.dumps([seed, list(prompt.messages)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
