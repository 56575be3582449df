"""Train on a task of two turns with a tool: look a price up, then answer with it."""

import json
import random
from collections.abc import Sequence

from podium_trainer.tasks.task import Message, Prompt, Task, Tool

PRICES = {
    "apple": 3, "pear": 4, "plum": 2, "melon": 9, "lemon": 1, "bread": 5, "milk": 6, "cheese": 8,
    "butter": 7, "egg": 12, "rice": 11, "salt": 13, "tea": 15, "coffee": 18, "honey": 14,
    "fish": 19, "soap": 16, "candle": 17, "pencil": 10, "paper": 20,
}  # fmt: skip


def look_up_price(item: str) -> int:
    """Return the price of an item in dollars.

    Raises:
        KeyError: If the shop does not have the item.
    """
    return PRICES[item.strip().lower()]


PRICE_TOOL = Tool(
    "price",
    "The price of one item in dollars.",
    {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]},
    look_up_price,
)


def build_example(item: str, cost: str) -> list[Message]:
    """Build one answered question, which lets a very small model succeed now and then."""
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
    *build_example("chair", "25"),
    *build_example("door", "31"),
]


def prices(held_out: int = 5, seed: int = 0) -> Task:
    """Build the task: `What does the pear cost?`, with the tool `price(item)`.

    The right answer is the bare number.

    Args:
        held_out: the number of the 20 items that are never trained on.
        seed: decides which items are held out.
    """
    items = sorted(PRICES)
    random.Random(seed).shuffle(items)
    prompts = [build_prompt(item) for item in items]
    train_prompts, test_prompts = prompts[held_out:], prompts[:held_out]
    return Task(train_prompts, test_prompts, [PRICE_TOOL], max_turns=2, score=score_price)


def build_prompt(item: str) -> Prompt:
    """Build the prompt that asks for one item's price; its id is the item."""
    messages = [*EXAMPLES, {"role": "user", "content": f"What does the {item} cost?"}]
    return Prompt(item, messages, reference=str(PRICES[item]))


def score_price(prompt: Prompt, messages: Sequence[Message]) -> float:
    """Return 1 if the last message is by the assistant and is the price, 0 if not."""
    last = messages[-1]
    text = str(last.get("content")).strip()
    return float(last["role"] == "assistant" and text == prompt.reference)
