"""Reads the attempts in a value of any form: a text, a conversation, an API's answer, an object.

To add the answer of another API: give it a branch in `_read_answer`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from podium.formats import fields
from podium.formats.chats import dialect_of, read_chat, read_turns
from podium.formats.errors import FormatError
from podium.formats.prompts import (
    MAX_DEPTH,
    SYSTEM,
    WRAPPERS,
    decode,
    join,
    kind_of,
    plain,
    read_prompt,
    row_prompt,
    with_system,
)
from podium.formats.record import Attempt, Message, Row, prompt_of

_SAID = ("message", "content", "text", "turns", "delta")


def read_attempts(value: Any, prompt: Sequence[Message] = (), depth: int = 0) -> list[Attempt]:
    """Return the attempts in a value, each with the prompt before it.

    Raises:
        FormatError: If the value holds no attempt in any form that is known.
    """
    value = decode(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, dict) and depth < MAX_DEPTH:
        attempts = _read_object(value, depth)
        return [_ask(prompt, each) for each in attempts]
    return [_ask(prompt, Attempt(read_turns(value, "assistant")))]


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


def tools_of(row: Row) -> list[Any] | None:
    """Return the tool definitions of a row, or of the request in it; None without any."""
    for holder in (row, *(row.get(name) for name in (*fields.REQUESTS, "input"))):
        tools = fields.decoded(holder.get("tools")) if isinstance(holder, dict) else None
        if isinstance(tools, list) and tools and all(isinstance(each, dict) for each in tools):
            return tools
    return None


def _ask(prompt: Sequence[Message], attempt: Attempt) -> Attempt:
    """Return the attempt with the prompt before it."""
    messages = join(prompt, attempt.messages)
    said = [(each.get("role"), plain(each)) for each in messages]
    turns = [each for each in prompt if each.get("role") not in SYSTEM]
    last = (turns[-1].get("role"), plain(turns[-1])) if turns else None
    ends = [n for n, each in enumerate(said, start=1) if each == last and n >= len(turns)]
    return replace(attempt, messages=messages, asked=next(iter(ends), attempt.asked))


def are_several(value: Any) -> bool:
    """Return whether a list holds texts or objects that are no messages, and no parts of one."""
    if not isinstance(value, list) or len(value) < 2 or dialect_of(value) is not None:
        return False
    return _all_texts(value) or all(isinstance(x, dict) and "type" not in x for x in value)


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
    if (candidates := fields.dicts(value.get("candidates"))) and kind_of(value):
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
    if name is None and stop and dialect_of([choice]) is None:
        return Attempt([], finish_reason=fields.stop_word(choice[stop]))  # stopped by a filter
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
    for name in (*WRAPPERS, *fields.COMPLETIONS):
        if name in value:
            prompt = row_prompt(value, *_but_prompt(name))
            if name != "content" and are_several(value[name]):
                return read_list(value[name], prompt)
            return read_attempts(value[name], prompt, depth + 1)
    for name in fields.LISTS:
        if isinstance(value.get(name), list) and value[name]:
            return read_list(value[name], row_prompt(value, name))
    raise FormatError(f"no attempt in an object with {fields.names_of(value)}")


def _but_prompt(completion: str) -> Iterable[str]:
    """Return the names that hold no prompt where `completion` holds what was said."""
    return (completion, *fields.COMPLETIONS)


def _flatten(values: list[Any]) -> Sequence[Row]:
    flat = [x for each in values for x in (each if isinstance(each, list) else [each])]
    return fields.dicts(flat)


def _all_texts(value: Sequence[Any]) -> bool:
    return bool(value) and all(isinstance(each, str) for each in value)
