"""Reads what was asked in rows, and joins it to what was said.

To add a name under which rows hold the turns before a prompt: put it into `HISTORIES` of fields.py.
To add the answer of another API: give it a branch in `kind_of`.
"""

import json
from collections.abc import Sequence
from typing import Any

from podium.formats import fields
from podium.formats.chats import dialect_of, holds_messages, read_chat, read_turns
from podium.formats.record import Message, Row

MAX_DEPTH = 8  # objects inside objects, until one says something
SYSTEM = ("system", "developer")
WRAPPERS = (
    "response", "body", "response_body", "outputBodyJson", "message", "output", "result",
    "completion",
)  # fmt: skip
# What the prompt is about may stand beside it.
_ABOUT = ("context", "passage", "document", "article")
_MORE = {"instruction": ("input", *_ABOUT), "question": _ABOUT, "query": _ABOUT}


def read_prompt(value: Any, depth: int = 0) -> list[Message]:
    """Return the messages that a prompt in any form consists of."""
    value = decode(value)
    if isinstance(value, dict) and depth < MAX_DEPTH and dialect_of([value]) is None:
        if name := prompt_field(value):
            return with_system(value, _read_named_prompt(value, name, depth))
        return [{"role": "user", "content": json.dumps(value, ensure_ascii=False, default=str)}]
    return read_turns(value, "user")


def prompt_field(row: Row) -> str | None:
    """Return the name of the field that holds a row's prompt; None without one."""
    return fields.first_of(row, (*fields.PROMPTS, *fields.CHATS, *fields.REQUESTS, "task"))


def row_prompt(row: Row, *but: str) -> list[Message]:
    """Return the prompt of a row; fields named in `but` hold something else."""
    rest = {name: value for name, value in row.items() if name not in but}
    name = prompt_field(rest)
    messages = _read_named_prompt(rest, name, 0) if name else []
    if messages and (before := fields.first_of(rest, fields.HISTORIES)) not in (None, name):
        messages = join(_read_history(rest[before]), messages)
    return with_system(rest, messages)


def with_system(row: Row, messages: list[Message]) -> list[Message]:
    """Return the messages after the system prompt that a row holds beside them, if it does."""
    name = fields.first_of(row, fields.SYSTEMS)
    if not name or any(each.get("role") in SYSTEM for each in messages):
        return messages
    system = row[name]
    parts = system.get("parts") if isinstance(system, dict) else system
    if not isinstance(parts, str | list) or not parts:
        return messages
    texts = [parts] if isinstance(parts, str) else [_part_text(part) for part in parts]
    return [{"role": "system", "content": "\n".join(texts)}, *messages]


def join(prompt: Sequence[Message], messages: list[Message]) -> list[Message]:
    """Return a conversation that begins with the prompt, which may already stand in it."""
    system = [each for each in prompt if each.get("role") in SYSTEM and each not in messages]
    turns = [each for each in prompt if each.get("role") not in SYSTEM]
    if turns and _holds(turns, messages):
        has_system = any(each.get("role") in SYSTEM for each in messages)
        return messages if has_system else [*system, *messages]
    return [*system, *turns, *messages]


def plain(message: Message) -> Any:
    """Return what a message says as a text, if it does; parts are joined."""
    content = message.get("content")
    if isinstance(content, list) and content and all(map(_part_text, content)):
        content = "".join(map(_part_text, content))
    return content.strip() if isinstance(content, str) else content


def kind_of(value: Any) -> str | None:
    """Return which API's answer a value is; None if it is none."""
    if not isinstance(value, dict):
        return None
    if fields.dicts(value.get("choices")):
        return "an answer of OpenAI's API, with choices"
    if any({"content", "finishReason"} & x.keys() for x in fields.dicts(value.get("candidates"))):
        return "an answer of Gemini's API, with candidates"
    if value.get("object") == "response" and isinstance(value.get("output"), list):
        return "an answer of OpenAI's Responses API"
    if "done" in value and isinstance(value.get("message"), dict):
        return "an answer of Ollama's API"
    if value.get("type") == "message" and value.get("role") == "assistant":
        return "an answer of Anthropic's API" if "content" in value else None
    return None


def decode(value: Any) -> Any:
    """Return the messages, the request or the answer of an API that a text holds as JSON.

    A text that holds other JSON is what was said, because models are asked and answer in JSON.
    """
    inner = fields.decoded(value) if isinstance(value, str) else value
    return inner if _holds_turns(inner) else value


def _holds(prompt: Sequence[Message], messages: Sequence[Message]) -> bool:
    """Return whether messages are a whole conversation, which ends its prompt as this one ends."""
    said = [(each.get("role"), plain(each)) for each in messages]
    asked = [(each.get("role"), plain(each)) for each in prompt]
    said = [each for each in said if each[0] not in SYSTEM]
    if said[: len(asked)] == asked:
        return True
    last = next((text for role, text in reversed(asked) if role == "user"), None)
    return said[:1] != [] and said[0][0] != "assistant" and ("user", last) in said


def _holds_turns(value: Any, depth: int = 0) -> bool:
    if holds_messages(value) or kind_of(value):
        return True
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        return False
    held = (value.get(name) for name in (*fields.CHATS, *WRAPPERS, *fields.REQUESTS, "input"))
    return isinstance(value.get("generations"), list) or any(
        isinstance(each, dict | list) and _holds_turns(each, depth + 1) for each in held
    )


def _read_named_prompt(row: Row, name: str, depth: int) -> list[Message]:
    value = row[name]
    found = fields.first_of(row, _MORE.get(name, ()))
    more = row[found] if found else None
    if isinstance(value, str) and isinstance(more, str) and more:
        value = f"{value}\n\n{more}"
    return read_prompt(value, depth + 1)


def _read_history(value: Any) -> list[Message]:
    """Return the turns before a prompt: messages, a text, or pairs of what both said."""
    value = fields.decoded(value)
    if not value:
        return []
    pairs = value if isinstance(value, list) and read_chat(value) is None else []
    if pairs and all(isinstance(x, list) and len(x) == 2 for x in pairs):
        return [
            turn
            for asked, said in pairs
            for turn in (*read_turns(asked, "user"), *read_turns(said, "assistant"))
        ]
    return read_turns(value, "user")


def _part_text(part: Any) -> str:
    if isinstance(part, dict):
        part = part.get("text") or part.get("content")
    return part if isinstance(part, str) else ""
