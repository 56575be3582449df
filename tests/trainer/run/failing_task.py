"""A task whose tool always fails, and scores that raise or fall; processes of tools import this."""

from collections.abc import Sequence

from podium_trainer.tasks.task import Message, Prompt, Task, Tool

SCORES = [0.2, 0.9, 0.3, 0.1]
step = 0


def shops(item: str = "") -> str:
    raise ConnectionError("the shop is closed")


def make() -> Task:
    tool = Tool("shops", "Find a price.", {"type": "object", "properties": {}}, shops)
    prompts = [Prompt(word, [{"role": "user", "content": f"say {word}"}]) for word in "abcdefgh"]
    return Task(prompts, tools=[tool], max_turns=2)


def falling(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Score best after step 1."""
    return SCORES[step]
