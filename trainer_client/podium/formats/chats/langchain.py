"""LangChain's messages: `messages_to_dict`, `model_dump`, and objects serialised by `dumps`.

To add a class of messages: put the beginning of its name, in lower case, into `_ROLES`.
"""

from typing import Any

from podium.formats.chats import anthropic, openai
from podium.formats.record import Message

_ROLES = {
    "human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function",
    "remove": "user",
}  # fmt: skip
_IN_CALLS = ("tool_use", "tool_call", "function_call")
_KINDS = {*_ROLES, "chat", *(f"{name}message" for name in (*_ROLES, "chat"))} | {
    f"{name}messagechunk" for name in (*_ROLES, "chat")
}


def fits(item: Message) -> bool:
    """Return whether an item is one of LangChain's messages."""
    kind, fields = _unwrap(item)
    return kind in _KINDS and "content" in fields


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages."""
    read: list[Message] = []
    for item in items:
        if _unwrap(item)[0].startswith("remove"):
            continue  # LangGraph's, of a message that is gone
        message = _read_message(item) if fits(item) else item
        read += anthropic.read([message]) if anthropic.fits(message) else [message]
    return read


def _unwrap(item: Message) -> tuple[str, Message]:
    """Return the kind of a message in lower case, and its fields."""
    if "lc" in item and isinstance(item.get("kwargs"), dict):
        path = item.get("id")
        kind = path[-1] if isinstance(path, list) and path else item["kwargs"].get("type")
        return str(kind).lower(), item["kwargs"]
    fields = item["data"] if isinstance(item.get("data"), dict) else item
    return str(item.get("type")).lower(), fields


def _read_message(item: Message) -> Message:
    kind, fields = _unwrap(item)
    stem = kind.removesuffix("chunk").removesuffix("message")
    read: Message = {
        "role": _ROLES.get(stem) or openai.role_of(fields.get("role")),
        "content": _read_content(fields.get("content")),
    }
    for name in ("name", "tool_call_id"):
        if fields.get(name):
            read[name] = fields[name]
    if calls := _calls(fields):
        read["tool_calls"] = calls
    if read["role"] == "assistant" and isinstance(more := fields.get("additional_kwargs"), dict):
        for name in ("reasoning_content", "refusal"):
            if more.get(name):
                read[name] = more[name]
    return read


def _read_content(content: Any) -> Any:
    """Return the content without the blocks that stand among the tool calls, too."""
    if isinstance(content, list):
        return [
            part
            for part in content
            if not (isinstance(part, dict) and part.get("type") in _IN_CALLS)
        ]
    return content


def _calls(fields: Message) -> list[Any]:
    calls: list[Any] = []
    for name in ("tool_calls", "invalid_tool_calls"):
        made = fields[name] if isinstance(fields.get(name), list) else []
        calls += [_call(x) if isinstance(x, dict) and "args" in x else x for x in made]
    more = fields.get("additional_kwargs")
    if not calls and isinstance(more, dict) and isinstance(more.get("tool_calls"), list):
        return list(more["tool_calls"])
    return calls


def _call(call: Message) -> Message:
    return {"id": call.get("id"), "name": call.get("name"), "arguments": call["args"]}
