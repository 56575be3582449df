"""Messages of Pydantic AI: requests and responses, with parts that name their kind.

To add a kind of part: put the role of its text into `_ROLES`, or give it a branch in `_read_parts`;
of what a user sends beside texts: give it one in `_content_part`.
"""

import json
from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message

_ROLES = {
    "system-prompt": "system", "user-prompt": "user", "text": "assistant", "thinking": "assistant",
    "retry-prompt": "user",
}  # fmt: skip
_RESULTS = ("tool-return", "builtin-tool-return")
_KINDS = (
    "image-url", "audio-url", "video-url", "document-url", "binary", "uploaded-file", "cache-point",
)  # fmt: skip
_CALLS = ("tool-call", "builtin-tool-call")


def fits(item: Message) -> bool:
    """Return whether an item has parts that name their kind."""
    parts = item.get("parts")
    return isinstance(parts, list) and any(
        isinstance(part, dict) and isinstance(part.get("part_kind"), str) for part in parts
    )


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages; a response is one turn, and each part of a request another."""
    read: list[Message] = []
    instructions = None  # each request repeats them
    for item in items:
        if (said := item.get("instructions")) and fits(item) and said != instructions:
            read.append({"role": "system", "content": said})
            instructions = said
        read += _read_parts(item) if fits(item) else openai.read([item])
    return read


def _read_parts(item: Message) -> list[Message]:
    messages: list[Message] = []
    turn: Message = {"role": "assistant", "content": []}
    results: list[Message] = []
    for part in item["parts"]:
        kind = part.get("part_kind") if isinstance(part, dict) else None
        if kind in _CALLS:
            call = {"id": part.get("tool_call_id"), "name": part.get("tool_name")}
            turn.setdefault("tool_calls", []).append(call | {"arguments": part.get("args")})
        elif kind in _RESULTS or (kind == "retry-prompt" and part.get("tool_name")):
            results.append(_result(part))
        elif _ROLES.get(str(kind)) == "assistant":
            type_ = "thinking" if kind == "thinking" else "text"
            turn["content"].append({"type": type_, "text": _text(part.get("content"))})
        elif kind == "file":
            turn["content"].append(_content_part(part.get("content")))
        elif kind in _ROLES:
            messages.append({"role": _ROLES[kind], "content": _content(part.get("content"))})
    if turn["content"] or "tool_calls" in turn or item.get("kind") == "response":
        messages.append(turn)
    return messages + results


def _result(part: Message) -> Message:
    return {
        "role": "tool",
        "tool_call_id": part.get("tool_call_id"),
        "name": part.get("tool_name"),
        "content": _content(part.get("content")),
    }


def _content(value: Any) -> Any:
    """Return a text, or parts if some are no texts but images, audio and so on."""
    held = value if isinstance(value, list) else [value]
    if not any(isinstance(each, dict) and each.get("kind") in _KINDS for each in held):
        return _text(value)
    parts = [_content_part(each) for each in held]
    return [part for part in parts if part["type"] != "cache-point"]


def _content_part(value: Any) -> Message:
    """Return a part in OpenAI's form; of audio and documents it is one that cannot be judged."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in _KINDS:
        return {"type": "text", "text": _text(value)}
    url, media_type = value.get("url"), value.get("media_type")
    if kind == "binary" and str(media_type).startswith("image/"):
        kind, url = "image-url", f"data:{media_type};base64,{value.get('data')}"
    if kind == "image-url":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": kind}


def _text(value: Any) -> str:
    """Return a text, or the texts in a list; other values as JSON."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "\n".join(value)
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)
