"""Turn rows into prompts, by the names of their columns."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from podium.formats.chats import read_chat
from podium_trainer.tasks.data.rows import Row
from podium_trainer.tasks.task import Message, Prompt, TaskError


@dataclass(frozen=True)
class Columns:
    """The names of the columns that a prompt is made of; None takes the default.

    Attributes:
        prompt: a text or chat messages; by default `prompt`, or `messages` where there is none.
        reference: a known good answer; by default `reference`.
        id: unique in the task; by default `id`, or the number of the row.
        task: words for the judge; by default `task`.
    """

    prompt: str | None = None
    reference: str | None = None
    id: str | None = None
    task: str | None = None

    @classmethod
    def read(cls, names: Mapping[str, str]) -> Self:
        """Read `task.options.columns`.

        Raises:
            TaskError: If it names something else than the attributes, or no text.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(names, Mapping) or set(names) - set(known):
            raise TaskError(f"task.options.columns {names!r}: it maps some of {known} to columns")
        if not all(isinstance(column, str) for column in names.values()):
            raise TaskError(f"task.options.columns {names!r}: a column's name is a text")
        return cls(**names)

    def mapped(self) -> dict[str, str]:
        """Return the names that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in given.items() if column is not None}


def to_prompts(rows: Sequence[Row], columns: Columns, *, prefix: str) -> list[Prompt]:
    """Turn rows into prompts.

    Args:
        rows: at least one.
        columns: the names of their columns.
        prefix: comes before the number of a row that has no id.

    Raises:
        TaskError: If a row has another form, or no row has a column that was named.
    """
    present = {column for row in rows for column in row.values}
    for name, column in columns.mapped().items():
        if column not in present:
            raise TaskError(
                f"{rows[0].location}: task.options.columns takes {name} from column {column!r},"
                f" which no row has; there are: {', '.join(sorted(present))}"
            )
    prompts = [to_prompt(row, columns, prefix) for row in rows]
    counts = Counter(prompt.id for prompt in prompts)
    return [
        replace(prompt, id=f"{row.file}:{prompt.id}")
        if counts[prompt.id] > 1 and row.file
        else prompt
        for row, prompt in zip(rows, prompts, strict=True)
    ]


def to_prompt(row: Row, columns: Columns, prefix: str) -> Prompt:
    """Turn a row into a prompt; raise a TaskError that starts with its location."""
    messages, answer = read_messages(row, prompt_column(row, columns))
    reference = row.values.get(columns.reference or "reference")
    own_id = to_text(row.values.get(columns.id or "id"))
    key = f"{row.file}:{row.key}" if row.file else row.key
    task = row.values.get(columns.task or "task")
    prompt = Prompt(
        f"{prefix}{key}" if own_id is None else own_id,
        messages,
        task=to_text(task),
        reference=to_text(reference) or answer,
        row=row.values,
    )
    try:
        json.dumps([prompt.messages, prompt.task, prompt.reference], ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise TaskError(f"{row.location}: cannot be sent as JSON: {error}") from error
    return prompt


def prompt_column(row: Row, columns: Columns) -> str:
    """Return the name of the column with a row's prompt."""
    if columns.prompt:
        return columns.prompt
    return "messages" if row.values.get("prompt") is None and "messages" in row.values else "prompt"


def read_messages(row: Row, column: str) -> tuple[list[Message], str | None]:
    """Return the messages of a row's prompt, and the answer where it ends with one.

    A text is what the user says, unless it holds chat messages in JSON, as a cell of a CSV file
    does. A conversation that ends with the assistant's answer, as those for
    fine-tuning do, is a prompt without it.

    Raises:
        TaskError: If the column is missing, empty or of another form.
    """
    value = row.values.get(column)
    if value is None:
        there = ", ".join(sorted(row.values)) or "none"
        raise TaskError(
            f"{row.location}: has no column {column!r} with the prompt; its columns: {there}. Add"
            " it, or name another in task.options.columns: {prompt: ...}"
        )
    value = parse_chat(value) if isinstance(value, str) else value
    if isinstance(value, str) and value.strip():
        return [{"role": "user", "content": value}], None
    messages = None if isinstance(value, str) else read_chat(value)
    if not messages or not all(map(is_message, map(as_text, messages))):
        raise TaskError(
            f"{row.location}: column {column!r} must be a text that is not empty, or chat messages"
            " with role and text"
        )
    prompt: list[Message] = list(map(as_text, messages))
    last = prompt[-1]
    if last["role"] == "assistant" and not last.get("tool_calls"):
        prompt.pop()
        if not prompt:
            raise TaskError(f"{row.location}: column {column!r} holds an answer and no prompt")
        return prompt, str(last["content"])
    return prompt, None


def parse_chat(text: str) -> Any:
    """Return the list of chat messages that a text is in JSON; any other text as it is."""
    if not text.lstrip().startswith("["):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if value and all(map(is_message, value)) else text


def as_text(message: Message) -> Message:
    """Return a message whose parts are one text, if all of them are texts."""
    parts = message.get("content")
    if not isinstance(parts, list) or not parts:
        return message
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        return message
    return {**message, "content": "".join(map(str, texts))}


def is_message(message: Message) -> bool:
    """Return whether a JSON value is a chat message with a role and text, or with tool calls."""
    return (
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and (isinstance(message.get("content"), str) or bool(message.get("tool_calls")))
    )


def to_text(value: Any) -> str | None:
    """Return a value as a text, a list or an object as JSON; None for a cell that is empty.

    Tables have no other way to leave a value out than a blank text or, for numbers, NaN.
    """
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
