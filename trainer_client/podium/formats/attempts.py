"""Reads the attempts in a value of any form: a text, a conversation, an API's answer, an object.

To add the answer of another API: give it a branch in `_read_answer`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from podium.formats import fields
from podium.formats.chats import dialect_of, read_chat, read_turns
from podium.formats.errors import FormatError
from podium.formats.record import Attempt, Message, Row

_MAX_DEPTH = 8  # objects inside objects, until one says something
_SAID = ("message", "content", "text", "turns", "delta")
_WRAPPERS = ("response", "body", "response_body", "message", "output", "result", "completion")


def read_attempts(value: Any, prompt: Sequence[Message] = (), depth: int = 0) -> list[Attempt]:
    """Return the attempts in a value, each with the prompt before it.

    Raises:
        FormatError: If the value holds no attempt in any form that is known.
    """
    value = fields.decoded(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        attempts = _read_object(value, depth)
        return [replace(each, messages=join(prompt, each.messages)) for each in attempts]
    return [Attempt(join(prompt, read_turns(value, "assistant")))]


def read_list(values: Any, prompt: Sequence[Message] = ()) -> list[Attempt]:
    """Return the attempts in a list of them, or in an object that names each.

    A list of messages that are not all of the assistant is one conversation.
    """
    values = fields.decoded(values)
    if isinstance(values, dict):
        return [
            replace(each, ids={"id": str(name)})
            for name, value in values.items()
            for each in read_attempts(value, prompt)[:1]
        ]
    if is_conversation(values):
        return read_attempts(values, prompt)
    if len(values) == 1 and isinstance(values[0], list) and _all_texts(values[0]):
        values = values[0]
    return [attempt for value in values for attempt in read_attempts(value, prompt)]


def read_prompt(value: Any, depth: int = 0) -> list[Message]:
    """Return the messages that a prompt in any form consists of."""
    value = fields.decoded(value)
    if isinstance(value, dict) and depth < _MAX_DEPTH and dialect_of([value]) is None:
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
    return with_system(rest, _read_named_prompt(rest, name, 0) if name else [])


def with_system(row: Row, messages: list[Message]) -> list[Message]:
    """Return the messages after the system prompt that a row holds beside them, if it does."""
    name = fields.first_of(row, fields.SYSTEMS)
    if not name or any(each.get("role") in ("system", "developer") for each in messages):
        return messages
    system = row[name]
    parts = system.get("parts") if isinstance(system, dict) else system
    if not isinstance(parts, str | list) or not parts:
        return messages
    texts = [parts] if isinstance(parts, str) else [_part_text(part) for part in parts]
    return [{"role": "system", "content": "\n".join(texts)}, *messages]


def tools_of(row: Row) -> list[Any] | None:
    """Return the tool definitions of a row, or of the request in it; None without any."""
    for holder in (row, *(row.get(name) for name in (*fields.REQUESTS, "input"))):
        tools = fields.decoded(holder.get("tools")) if isinstance(holder, dict) else None
        if isinstance(tools, list) and tools and all(isinstance(each, dict) for each in tools):
            return tools
    return None


def join(prompt: Sequence[Message], messages: list[Message]) -> list[Message]:
    """Return a conversation that begins with the prompt, which may already stand in it."""
    asked = [each.get("content") for each in prompt if each.get("role") == "user"]
    before = prompt_of(messages)
    if asked and any(each.get("content") == asked[-1] for each in before):
        return messages
    return [*prompt, *messages]


def prompt_of(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages before the first one of the assistant."""
    for index, message in enumerate(messages):
        if message.get("role") == "assistant":
            return messages[:index]
    return messages


def is_conversation(value: Any) -> bool:
    """Return whether a value is a list of messages of which one is not the assistant's."""
    if dialect_of(value) is None:
        return False
    return any(each.get("role") != "assistant" for each in read_chat(value) or ())


def ids_of(row: Any) -> dict[str, str]:
    """Return what a row calls its attempt, by the names of `fields.IDS`."""
    if not isinstance(row, dict):
        return {}
    named = {name: fields.scalar_text(row.get(name)) for name in fields.IDS}
    return {name: text for name, text in named.items() if text and len(text) <= 256}


def _read_object(value: Row, depth: int) -> list[Attempt]:
    answers = _read_answer(value)
    if answers is None:
        answers = _read_conversation(value, depth)
    ids, stop = ids_of(value), fields.stop_word(value.get("finish_reason"))
    return [
        replace(
            each,
            ids=each.ids or (ids if len(answers) == 1 else {}),
            finish_reason=each.finish_reason or stop,
            tools=each.tools or tools_of(value),
        )
        for each in answers
    ]


def _read_answer(value: Row) -> list[Attempt] | None:
    """Return the attempts in the answer of a model's API; None if it is none."""
    if choices := fields.dicts(value.get("choices")):
        return [_read_choice(each) for each in choices]
    if candidates := fields.dicts(value.get("candidates")):
        return [_read_choice(each) for each in candidates]
    if isinstance(value.get("generations"), list):
        return [_read_choice(each) for each in _flatten(value["generations"])] or None
    items = value.get("output")
    if items and (value.get("object") == "response" or dialect_of(items) == "agents"):
        cut = (value.get("incomplete_details") or {}) if value.get("incomplete_details") else {}
        stop = cut.get("reason") if isinstance(cut, dict) else None
        said = read_chat(items) or read_turns(items, "assistant")
        asked = read_prompt(value["input"]) if value.get("input") else []
        messages = with_system(value, join(asked, said))
        return [Attempt(messages, finish_reason=fields.stop_word(stop))]
    stop_name = fields.first_of(value, ("stop_reason", "stopReason", "done_reason"))
    if dialect_of([value]) is not None:
        messages = read_chat([value]) or []
        stop = value.get(stop_name) if stop_name else value.get("finish_reason")
        return [Attempt(messages, finish_reason=fields.stop_word(stop))]
    return None


def _read_choice(choice: Row) -> Attempt:
    """Return the attempt of a choice of OpenAI, a candidate of Gemini, or a generation."""
    stop = fields.first_of(choice, ("finish_reason", "finishReason", "stop_reason"))
    name = next((name for name in _SAID if name in choice), None)
    if name is None and dialect_of([choice]) is None:
        raise FormatError(f"a choice says nothing that is known: it has {fields.names_of(choice)}")
    said = choice[name] if name else choice
    if name == "turns" and isinstance(said, list):
        said = [
            {
                "role": "assistant",
                "content": turn.get("content") if isinstance(turn, dict) else turn,
            }
            for turn in said
        ]
    if isinstance(said, dict) and "role" not in said and dialect_of([said]) is None:
        said = {"role": "assistant", **said}
    return Attempt(
        read_turns(said, "assistant"), finish_reason=fields.stop_word(choice[stop] if stop else "")
    )


def _read_conversation(value: Row, depth: int) -> list[Attempt]:
    for name in fields.CHATS:
        messages = read_chat(value.get(name))
        if messages is not None:
            completion = fields.first_of(value, fields.COMPLETIONS)
            if messages[-1].get("role") != "assistant" and completion:
                return read_attempts(value[completion], with_system(value, messages), depth + 1)
            if not prompt_of(messages):
                messages = join(row_prompt(value, name), messages)
            return [Attempt(with_system(value, messages))]
        if value.get(name) == []:
            return [Attempt(with_system(value, []))]
    for name in (*_WRAPPERS, *fields.COMPLETIONS):
        if name in value:
            return read_attempts(value[name], row_prompt(value, *_but_prompt(name)), depth + 1)
    for name in fields.LISTS:
        if isinstance(value.get(name), list) and value[name]:
            return read_list(value[name], row_prompt(value, name))
    raise FormatError(f"no attempt in an object with {fields.names_of(value)}")


def _but_prompt(completion: str) -> Iterable[str]:
    """Return the names that hold no prompt where `completion` holds what was said."""
    return (completion, *fields.COMPLETIONS)


def _read_named_prompt(row: Row, name: str, depth: int) -> list[Message]:
    value = row[name]
    more = row.get("input") if name == "instruction" else None
    if isinstance(value, str) and isinstance(more, str) and more:
        value = f"{value}\n\n{more}"
    return read_prompt(value, depth + 1)


def _flatten(values: list[Any]) -> Sequence[Row]:
    flat = [x for each in values for x in (each if isinstance(each, list) else [each])]
    return fields.dicts(flat)


def _part_text(part: Any) -> str:
    if isinstance(part, dict):
        part = part.get("text") or part.get("content")
    return part if isinstance(part, str) else ""


def _all_texts(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(each, str) for each in value)
