"""Put a recipe's system prompt before the messages of all prompts of a task."""

from collections.abc import Sequence
from dataclasses import replace

from podium_trainer.tasks.task import Message, Prompt, Task


def with_system(task: Task, text: str | None) -> Task:
    """Return the task with a system prompt, to train on and held out; None changes nothing."""
    if text is None:
        return task

    def extend(prompt: Prompt) -> Prompt:
        return replace(prompt, messages=prepend_system(prompt.messages, text))

    return replace(
        task,
        train=[extend(prompt) for prompt in task.train],
        held_out=[extend(prompt) for prompt in task.held_out],
    )


def prepend_system(messages: Sequence[Message], text: str) -> list[Message]:
    """Put a system message in front; an own one goes into it, because templates take only one."""
    own = messages[0] if messages and messages[0]["role"] == "system" else None
    if own is None:
        return [{"role": "system", "content": text}, *messages]
    return [{**own, "content": f"{text}\n\n{own['content']}"}, *messages[1:]]
