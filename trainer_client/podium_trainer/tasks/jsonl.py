"""Single-turn prompts from a file, one JSON object a line."""

import json
from pathlib import Path
from typing import Any

from podium_trainer.tasks.task import Message, Prompt, Task, TaskError

FIELDS = {"id", "prompt", "messages", "reference", "task"}


def jsonl(path: str, held_out: str | None = None) -> Task:
    """Prompts from lines such as `{"prompt": "Name a prime.", "reference": "7"}`.

    Args:
        path: the file. A line has `prompt` (text) or `messages` (OpenAI chat messages), and may
            have `id`, `reference` (shown to the judge) and `task` (words for the judge).
        held_out: a file of the same form; its attempts are scored by whether they equal the
            reference, so only lines with one count.

    Raises:
        TaskError: If a file cannot be read, a line is off this form, or there is no line.
    """
    tested = read_prompts(held_out, "held_out/") if held_out else []
    return Task(read_prompts(path, ""), tested, score=equals_reference)


def equals_reference(prompt: Prompt, messages: Any) -> float | None:
    """1 if the last message is the reference, surrounding white space apart."""
    if prompt.reference is None:
        return None
    return float(str(messages[-1].get("content")).strip() == prompt.reference.strip())


def read_prompts(path: str, prefix: str) -> list[Prompt]:
    """The prompts of a file; those without an id are named by their line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # JSON may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"task.options.path {path!r} cannot be read: {error}") from error
    prompts = [
        read_line(line, f"{path}:{number}", f"{prefix}{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not prompts:
        raise TaskError(f"{path} holds no prompt: write one JSON object a line")
    return prompts


def read_line(line: str, where: str, default_id: str) -> Prompt:
    try:
        record = json.loads(line)
        json.dumps(record, ensure_ascii=False).encode()  # half a character could not be tokenized
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict) or set(record) - FIELDS:
        raise TaskError(f"{where}: a line is an object with some of {sorted(FIELDS)}")
    messages = record.get("messages") or [{"role": "user", "content": record.get("prompt")}]
    if not (isinstance(messages, list) and all(map(is_message, messages))):
        raise TaskError(f"{where}: needs a text `prompt` or `messages` with role and text content")
    reference, task = record.get("reference"), record.get("task")
    return Prompt(
        str(record.get("id", default_id)),
        messages,
        task=None if task is None else str(task),
        reference=None if reference is None else str(reference),
    )


def is_message(message: Message) -> bool:
    return (
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
    )
