"""A multi-turn tool task: look a price up, then say it."""

import random
from collections.abc import Sequence

from trainer_client.tasks.task import Message, Prompt, Task, Tool

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
SYSTEM = "You answer with a number. You do not know any price, so call the function first."
EXAMPLE: list[Message] = []


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
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": words}]
    return Prompt(item, messages, reference=str(PRICES[item]))


def says_price(prompt: Prompt, messages: Sequence[Message]) -> float:
    """1 if the last message, by the assistant, is the price."""
    last = messages[-1]
    said = str(last.get("content")).strip()
    return float(last["role"] == "assistant" and said == prompt.reference)
