"""Train on single-turn prompts from a file with one JSON object a line."""

import json
from collections.abc import Sequence
from pathlib import Path

from podium_trainer.tasks.task import Message, Prompt, Task, TaskError

FIELDS = {"id", "prompt", "messages", "reference", "task"}


def jsonl(path: str, held_out: str | None = None) -> Task:
    """Build a task from lines such as `{"prompt": "Name a prime.", "reference": "7"}`.

    Args:
        path: the file. A line has `prompt` (text) or `messages` (OpenAI chat messages), and may
            have `id`, `reference` (shown to the judge) and `task` (a description for the judge).
        held_out: a file of the same form. An attempt at one of its lines scores 1 if it equals the
            line's reference; lines without a reference are not scored.

    Raises:
        TaskError: If a file cannot be read, a line has another form, or there is no line.
    """
    test_prompts = read_prompts(held_out, "held_out/") if held_out else []
    return Task(read_prompts(path, ""), test_prompts, score=score_reference)


def score_reference(prompt: Prompt, messages: Sequence[Message]) -> float | None:
    """Return 1 if the last message is the reference, 0 if not; surrounding space is ignored."""
    if prompt.reference is None:
        return None
    return float(str(messages[-1].get("content")).strip() == prompt.reference.strip())


def read_prompts(path: str, prefix: str) -> list[Prompt]:
    """Read the prompts of a file.

    Args:
        path: the file.
        prefix: comes before the line number in the id of a prompt without an id of its own.

    Raises:
        TaskError: If the file cannot be read, a line has another form, or there is no line.
    """
    try:
        # Not `splitlines`, because a JSON string may hold U+2028 and other line separators.
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"task.options.path {path!r} cannot be read: {error}") from error
    prompts = [
        parse_line(line, f"{path}:{number}", f"{prefix}{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not prompts:
        raise TaskError(f"{path} holds no prompt: write one JSON object a line")
    return prompts


def parse_line(line: str, location: str, default_id: str) -> Prompt:
    """Parse one line; raise a TaskError that starts with its location if it has another form."""
    try:
        record = json.loads(line)
        json.dumps(record, ensure_ascii=False).encode()  # a lone surrogate cannot be tokenized
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{location} is not JSON: {error}") from error
    if not isinstance(record, dict) or set(record) - FIELDS:
        raise TaskError(f"{location}: a line is an object with some of {sorted(FIELDS)}")
    messages = record.get("messages") or [{"role": "user", "content": record.get("prompt")}]
    if not (isinstance(messages, list) and all(map(is_message, messages))):
        raise TaskError(
            f"{location}: needs a text `prompt` or `messages` with role and text content"
        )
    reference, task = record.get("reference"), record.get("task")
    return Prompt(
        str(record.get("id", default_id)),
        messages,
        task=None if task is None else str(task),
        reference=None if reference is None else str(reference),
    )


def is_message(message: Message) -> bool:
    """Return whether a JSON value is a chat message with a role and text."""
    return (
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
    )
