"""Train on a task with tools that have a state: scan items at a till, then say the total."""

import json
import random
from collections.abc import Sequence
from itertools import combinations

from podium_trainer.tasks.prices import PRICES
from podium_trainer.tasks.task import Message, Prompt, Step, Task, Tool, environment_reward

SCAN = Tool(
    "scan",
    "Scan one item; returns the total so far in dollars.",
    {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]},
)


class Till:
    """One till; an attempt is worth 1 if it scanned the right items and said their total."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.scanned: list[str] = []

    @property
    def total(self) -> int:
        """The price of all that was scanned, in dollars."""
        return sum(PRICES[item] for item in self.scanned)

    def reset(self, prompt: Prompt) -> None:
        """Begin with nothing scanned; the prompt says all."""
        self.wanted = sorted(prompt.row["items"])

    def scan(self, item: str) -> int:
        """Scan an item.

        Raises:
            KeyError: If the shop does not have it.
        """
        name = item.strip().lower()
        PRICES[name]
        self.scanned.append(name)
        return self.total

    def step(self, completion: Message) -> Step:
        """Take the answer, which ends the attempt."""
        said = str(completion["content"]).strip()
        is_right = sorted(self.scanned) == self.wanted and said == str(self.total)
        return Step("", is_done=True, reward=float(is_right))

    def close(self) -> None:
        """Free nothing."""


def till(held_out: int = 20, seed: int = 0) -> Task:
    """Build the task: `Scan pear and plum. What is the total?`, with the tool `scan(item)`.

    Args:
        held_out: the number of the 190 pairs of items that are never trained on.
        seed: decides which pairs are held out.
    """
    pairs = list(combinations(sorted(PRICES), 2))
    random.Random(seed).shuffle(pairs)
    prompts = [build_prompt(pair) for pair in pairs]
    return Task(
        prompts[held_out:],
        prompts[:held_out],
        [SCAN],
        max_turns=3,
        score=environment_reward,
        environment=Till,
    )


def build_prompt(items: Sequence[str]) -> Prompt:
    """Build the prompt of one bill, whose reference is the total."""
    total = sum(PRICES[item] for item in items)
    messages = [
        {"role": "system", "content": "Scan each item, then answer with the total."},
        *build_example(["chair", "door"], [25, 56]),
        {"role": "user", "content": ask(items)},
    ]
    row = {"items": list(items)}
    return Prompt(" and ".join(items), messages, reference=str(total), row=row)


def build_example(items: Sequence[str], totals: Sequence[int]) -> list[Message]:
    """Build one answered bill, which lets a very small model succeed now and then."""
    messages: list[Message] = [{"role": "user", "content": ask(items)}]
    for item, total in zip(items, totals, strict=True):
        function = {"name": "scan", "arguments": json.dumps({"item": item})}
        call = {"id": f"example_{item}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "content": str(total), "tool_call_id": call["id"]})
    return [*messages, {"role": "assistant", "content": str(totals[-1])}]


def ask(items: Sequence[str]) -> str:
    """Return the question about some items."""
    return f"Scan {' and '.join(items)}. What is the total?"
