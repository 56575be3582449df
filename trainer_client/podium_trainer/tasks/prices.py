"""A multi-turn tool task: look a price up, then say it."""

import json
import random
from collections.abc import Sequence

from podium_trainer.tasks.task import Message, Prompt, Task, Tool

PRICES = {
    "apple": 3, "pear": 4, "plum": 2, "melon": 9, "lemon": 1, "bread": 5, "milk": 6, "cheese": 8,
    "butter": 7, "egg": 12, "rice": 11, "salt": 13, "tea": 15, "coffee": 18, "honey": 14,
    "fish": 19, "soap": 16, "candle": 17, "pencil": 10, "paper": 20,
}  # fmt: skip


def price(item: str) -> int:
    """What an item costs.

    Raises:
        KeyError: If the shop does not have it.
    """
    return PRICES[item.strip().lower()]


PRICE_TOOL = Tool(
    "price",
    "The price of one item in dollars.",
    {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]},
    price,
)


def worked_example(item: str, cost: str) -> list[Message]:
    """One question as it should be answered, so that a very small model can do it sometimes."""
    function = {"name": "price", "arguments": json.dumps({"item": item})}
    call = {"id": f"example_{item}", "type": "function", "function": function}
    return [
        {"role": "user", "content": f"What does the {item} cost?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": cost, "tool_call_id": call["id"]},
        {"role": "assistant", "content": cost},
    ]


EXAMPLES: list[Message] = [
    {"role": "system", "content": "Answer with a number."},
    *worked_example("chair", "25"),
    *worked_example("door", "31"),
]


def prices(held_out: int = 5, seed: int = 0) -> Task:
    """`What does a pear cost?`, with the function `price(item)`; the answer is the bare number.

    Args:
        held_out: how many of the 20 items are never trained on.
        seed: decides which.
    """
    items = sorted(PRICES)
    random.Random(seed).shuffle(items)
    prompts = [question(item) for item in items]
    return Task(prompts[held_out:], prompts[:held_out], [PRICE_TOOL], max_turns=2, score=says_price)


def question(item: str) -> Prompt:
    words = f"What does the {item} cost?"
    messages = [*EXAMPLES, {"role": "user", "content": words}]
    return Prompt(item, messages, reference=str(PRICES[item]))


def says_price(prompt: Prompt, messages: Sequence[Message]) -> float:
    """1 if the last message, by the assistant, is the price."""
    last = messages[-1]
    said = str(last.get("content")).strip()
    return float(last["role"] == "assistant" and said == prompt.reference)
