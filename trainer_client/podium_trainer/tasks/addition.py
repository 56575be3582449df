"""Single-digit addition: 99 problems, a quarter of them held out."""

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
    """`a + b =` for digits a and b, to be answered with the sum and nothing else.

    Args:
        held_out: how many problems at least are never trained on. `a + b` and `b + a` are held out
            together, so that none of them is known by its mirror image.
        seed: decides which.
    """
    pairs = list(combinations_with_replacement(range(10), 2))
    pairs.remove((2, 2))  # every prompt shows it
    random.Random(seed).shuffle(pairs)
    tested: list[Prompt] = []
    trained: list[Prompt] = []
    for a, b in pairs:
        side = tested if len(tested) < held_out else trained
        side += [problem(*both) for both in sorted({(a, b), (b, a)})]
    return Task(trained, tested, score=exact_match)


def problem(a: int, b: int) -> Prompt:
    words = f"{a} + {b} ="
    return Prompt(words, [*EXAMPLE, {"role": "user", "content": words}], reference=str(a + b))


def exact_match(prompt: Prompt, messages: Sequence[Message]) -> float:
    """1 if the last message is the sum, surrounding space and a final full stop apart."""
    said = str(messages[-1].get("content")).strip().removesuffix(".").rstrip()
    return float(said == prompt.reference)
