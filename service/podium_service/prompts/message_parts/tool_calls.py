"""Render tool calls, and tell which call each tool result answers.

Ids are never shown, because they differ from client to client. A result names the tool, and the
number of its call where several were made at once.

A result is matched with a call of the latest turn that made calls, or of an earlier one by id:

1. by its `tool_call_id`; if parallel calls share the id, the first of them without a result;
2. else by the name of its tool; the first such call without a result;
3. else, if it has no name and no id of another call, in the order of the calls.

A result that answers no call is shown under its own name, or as that of an `unknown` tool. Its call
may be gone because the agent compacted its history.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import orjson
from orjson import dumps

from podium_service.schemas import Message, ToolCall

UNKNOWN = "unknown"
_MAX_NAME_CHARS = 128
_AS_IS = orjson.OPT_PASSTHROUGH_SUBCLASS  # what is not plain JSON is an error
_LINE_ENDS = re.compile(r"[\n\x85\u2028\u2029]")


@dataclass(slots=True)
class _Called:
    """A call that results may answer."""

    id: str | None
    name: str
    number: int  # from 1 among parallel calls; 0 for a single call
    is_answered: bool = False


def match_results(messages: Sequence[Message], cleaner: Callable[[str], str]) -> dict[int, str]:
    """Return the attributes of each tool result's tag, by the index of its message."""
    attributes: dict[int, str] = {}
    by_id: dict[str, list[_Called]] = {}  # agents reuse ids, so these are of the latest turn only
    latest: list[_Called] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            call = _find_call(message, by_id, latest)
            name = call.name if call else _name_of_result(message)
            number = f' number="{call.number}"' if call and call.number else ""
            attributes[index] = f' name="{_clean_name(name, cleaner)}"{number}'
        elif message.tool_calls:
            latest = _list_called(message.tool_calls)
            fresh: dict[str, list[_Called]] = {}
            for called in latest:
                if called.id:
                    fresh.setdefault(called.id, []).append(called)
            by_id |= fresh
    return attributes


def _list_called(calls: Sequence[ToolCall]) -> list[_Called]:
    if len(calls) == 1:
        [call] = calls
        return [_Called(call.id or None, call.called.name or UNKNOWN, 0)]
    return [
        _Called(call.id or None, call.called.name or UNKNOWN, number)
        for number, call in enumerate(calls, start=1)
    ]


def _find_call(
    result: Message, by_id: Mapping[str, Sequence[_Called]], latest: Sequence[_Called]
) -> _Called | None:
    """Return the call that a result answers, and mark it as answered; None for an orphan."""
    known = by_id.get(result.tool_call_id or "", ())
    if len(known) == 1:
        [call] = known
    else:
        name = _name_of_result(result, "")
        # A result with an id of its own may answer a call only if that has none.
        waiting = [
            call
            for call in known or latest
            if not call.is_answered and (known or not (call.id and result.tool_call_id))
        ]
        named = [call for call in waiting if call.name == name]
        in_order = waiting if known or not name else []
        chosen = (named or in_order or known)[:1]
        if not chosen:
            return None
        [call] = chosen
    call.is_answered = True
    return call


def _name_of_result(result: Message, default: str = UNKNOWN) -> str:
    return result.name if isinstance(result.name, str) and result.name else default


def render_call(call: ToolCall, number: int, cleaner: Callable[[str], str]) -> str:
    """Render a call as `name(key=value)` in our tag; a number of 0 is not shown."""
    called = call.called
    shown = cleaner(f"{called.name or UNKNOWN}({render_arguments(called.arguments)})")
    attribute = f' number="{number}"' if number else ""
    return f"<tool_call{attribute}>{shown}</tool_call>"


def _clean_name(name: str, cleaner: Callable[[str], str]) -> str:
    """Return a tool's name as the value of an attribute."""
    if name.isascii() and name.isidentifier():  # most names, which need no cleaning
        return name[:_MAX_NAME_CHARS]
    return escape(_LINE_ENDS.sub(" ", cleaner(name))[:_MAX_NAME_CHARS])


def render_arguments(arguments: str | dict[str, Any] | list[Any] | None) -> str:
    """Render `key=value, ...` with JSON values; the raw text if it is no list or object."""
    try:
        members = orjson.loads(arguments) if isinstance(arguments, str) else arguments
        if isinstance(arguments, str) and _holds_float(members):
            # A float may be a rounded number, so all numbers are shown as the client wrote them.
            members = json.loads(arguments, parse_int=_Written, parse_float=_Written)
        if members is None:
            return ""
        if isinstance(members, list):
            return dump_json(members)
        try:
            pairs = [f"{key}={dumps(members[key], option=_AS_IS).decode()}" for key in members]
        except orjson.JSONEncodeError:
            pairs = [f"{key}={dump_json(value)}" for key, value in members.items()]
        return ", ".join(pairs)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, AttributeError, RecursionError):
        return str(arguments)


class _Written(str):
    """A JSON number as it was written."""


def _holds_float(value: Any) -> bool:
    """Return whether there is a float anywhere in a JSON value."""
    level = [value]
    while level:
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                continue  # most values are texts
            if kind is dict:
                below += item.values()
            elif kind is list:
                below += item
            elif kind is float:
                return True
        level = below
    return False


def dump_json(value: Any) -> str:
    """Return the JSON of a value, integers beyond 64 bits and numbers as written included."""
    try:
        return dumps(value, option=_AS_IS).decode()
    except orjson.JSONEncodeError:
        return _dump_exactly(value)


def _dump_exactly(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{dump_json(key)}:{_dump_exactly(each)}" for key, each in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_dump_exactly, value))}]"
    if isinstance(value, _Written) or type(value) is int:
        return str(value)
    return orjson.dumps(value).decode()
