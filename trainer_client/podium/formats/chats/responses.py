"""Items of OpenAI's Responses API, and of its Agents SDK (`to_input_list()`, `new_items`).

Calls that follow each other are one turn of the assistant, with the text before them.

To add a hosted tool: nothing is to be done if the types of its items end on `_call` and
`_call_output`.
"""

import json
from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message

# Items that say nothing: what a server offers, what a person allowed, an encrypted summary.
_SILENT = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "compaction")
_RESULTS = ("output", "results", "outputs", "result", "error")  # of a hosted tool, in its call
_PARTS = ("text", "input_text", "output_text", "image", "input_image", "image_url")
_ABOUT = {"id", "type", "status", "call_id", "name", "arguments", "input", *_RESULTS}


def fits(item: Message) -> bool:
    """Return whether an item has one of the types of the API."""
    item = _raw(item)
    kind = item.get("type")
    if not isinstance(kind, str):
        return False
    is_reasoning = kind == "reasoning" and ("summary" in item or "encrypted_content" in item)
    is_other = kind in _SILENT or _is_output(item) or _is_call(item) or _is_message(item)
    return is_reasoning or is_other


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages."""
    turns = _Turns()
    for item in map(_raw, items):
        kind = item.get("type")
        if kind in _SILENT:
            continue
        if _is_output(item):
            turns.add(_result(item))
        elif kind == "reasoning" and "role" not in item:
            turns.think(item)
        elif _is_call(item):
            turns.call(item)
        else:
            turns.add(*openai.read([item]))
    return turns.close()


class _Turns:
    """The messages so far; thoughts wait for the turn that follows them."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._thoughts: list[str] = []

    def add(self, message: Message) -> None:
        if message.get("role") == "assistant" and self._thoughts:
            message = message | {"reasoning_content": "\n".join(self._thoughts)}
            self._thoughts = []
        self._messages.append(message)

    def think(self, item: Message) -> None:
        for name in ("summary", "content"):
            parts = item.get(name)
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    self._thoughts.append(part["text"])

    def call(self, item: Message) -> None:
        last = self._messages[-1] if self._messages else {}
        if last.get("role") != "assistant" or self._thoughts:
            self.add({"role": "assistant", "content": None})
        last = self._messages[-1]
        last.setdefault("tool_calls", []).append(_call(item))
        if shown := next(filter(None, map(item.get, _RESULTS)), None):
            if item["type"] == "image_generation_call" and isinstance(shown, str):
                shown = {"image_url": f"data:image/png;base64,{shown}"}
            self.add({"role": "tool", "tool_call_id": _call_id(item), "content": _as_parts(shown)})

    def close(self) -> list[Message]:
        if self._thoughts:
            self.add({"role": "assistant", "content": None})
        return self._messages


def _raw(item: Message) -> Message:
    """Return the item of the API that an item of the Agents SDK wraps."""
    raw = item.get("raw_item")
    return raw if isinstance(raw, dict) else item


def _is_message(item: Message) -> bool:
    content = item.get("content")
    return item.get("type") == "message" and any(
        isinstance(part, dict) and part.get("type") in ("input_text", "output_text", "refusal")
        for part in (content if isinstance(content, list) else ())
    )


def _is_output(item: Message) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and kind.endswith("_call_output") and "role" not in item


def _is_call(item: Message) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and kind.endswith("_call") and "role" not in item


def _call(item: Message) -> Message:
    name = item.get("name") or str(item["type"]).removesuffix("_call")
    arguments = next((item[each] for each in ("arguments", "input") if item.get(each)), None)
    if arguments is None:
        arguments = {each: value for each, value in item.items() if each not in _ABOUT}
    if not isinstance(arguments, str | dict | list):
        arguments = str(arguments)
    function = {"name": name if isinstance(name, str) else str(name), "arguments": arguments}
    return {"id": _call_id(item), "type": "function", "function": function}


def _call_id(item: Message) -> str | None:
    called = item.get("call_id") or item.get("id")
    return called if isinstance(called, str) else None


def _result(item: Message) -> Message:
    return {
        "role": "tool",
        "tool_call_id": _call_id(item),
        "content": _as_parts(item.get("output")),
    }


def _as_parts(value: Any) -> Any:
    """Return a result as text or parts; a screenshot is an image."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("image_url"), str):
        return [{"type": "input_image", "image_url": value["image_url"]}]
    parts = [_as_part(each) for each in value] if isinstance(value, list) else [None]
    if all(part is not None for part in parts):
        return parts
    return json.dumps(value, ensure_ascii=False, default=str)


def _as_part(part: Any) -> Message | None:
    """Return a part of a result as the service reads it; None for data."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "logs":  # of the code interpreter
        return {"type": "text", "text": str(part.get("logs"))}
    return part if kind in _PARTS else None
