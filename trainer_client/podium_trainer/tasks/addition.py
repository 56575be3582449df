"""Train on single-digit addition: 99 problems, at least 25 of them held out."""

import random
from collections.abc import Sequence
from itertools import combinations_with_replacement

from podium_trainer.tasks.task import Message, Prompt, Task

EXAMPLE: list[Message] = [
    {"role": "system", "content": "Answer with a number."},
    {"role": "user", "content": "2 + 2 ="},
    {"role": "assistant", "content": "4"},
]


def addition(held_out: int = 25, seed: int = 0) -> Task:
    """Build the task: `a + b =` for digits a and b, to be answered with the bare sum.

    Args:
        held_out: the smallest number of problems that are never trained on. `a + b` and `b + a` are
            held out together, because a model that was trained on one would know the other.
        seed: decides which problems are held out.
    """
    pairs = list(combinations_with_replacement(range(10), 2))
    pairs.remove((2, 2))  # the example in every prompt gives its answer away
    random.Random(seed).shuffle(pairs)
    test_prompts: list[Prompt] = []
    train_prompts: list[Prompt] = []
    for a, b in pairs:
        side = test_prompts if len(test_prompts) < held_out else train_prompts
        side += [build_prompt(*ordered) for ordered in sorted({(a, b), (b, a)})]
    return Task(train_prompts, test_prompts, score=score_exact_match)


def build_prompt(a: int, b: int) -> Prompt:
    """Build the prompt of one problem, whose id is the problem."""
    problem = f"{a} + {b} ="
    return Prompt(problem, [*EXAMPLE, {"role": "user", "content": problem}], reference=str(a + b))


def score_exact_match(prompt: Prompt, messages: Sequence[Message]) -> float:
    """Return 1 if the last message is the sum; white space and a final full stop are ignored."""
    text = str(messages[-1].get("content")).strip().removesuffix(".").rstrip()
    return float(text == prompt.reference)
