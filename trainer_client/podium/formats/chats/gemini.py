"""Gemini's contents: a role, and parts that are told apart by their fields.

To add a kind of part: give it a branch in `_read_content`.
"""

import json
from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message

_FIELDS = {
    "text", "functionCall", "functionResponse", "function_call", "function_response", "inlineData",
    "inline_data", "fileData", "file_data", "executableCode", "codeExecutionResult",
}  # fmt: skip


def fits(item: Message) -> bool:
    """Return whether an item has parts without types."""
    parts = _content_of(item).get("parts")
    if isinstance(parts, str):  # its older SDK takes texts for parts
        return True
    return isinstance(parts, list) and any(
        isinstance(part, str)
        or (isinstance(part, dict) and "type" not in part and _FIELDS & part.keys())
        for part in parts
    )


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages; each result of a function is a message of its own."""
    read: list[Message] = []
    for number, item in enumerate(items):
        if fits(item):
            # What names no role is the user's, but for an answer alone.
            first = "user" if number == 0 and len(items) > 1 else "assistant"
            read += _read_content({"role": first} | _content_of(item))
        else:
            read += openai.read([item])
    return read


def _content_of(item: Message) -> Message:
    """Return the content, which an event of Google's ADK holds."""
    held = item.get("content")
    return held if isinstance(held, dict) and "role" not in item and "author" in item else item


def _read_content(item: Message) -> list[Message]:
    content: list[Any] = []
    calls: list[Message] = []
    results: list[Message] = []
    parts = item["parts"]
    for part in [parts] if isinstance(parts, str) else parts:
        if not isinstance(part, dict):
            content.append(part)
        elif called := _either(part, "functionCall", "function_call"):
            calls.append({"name": called.get("name"), "arguments": called.get("args")})
        elif answered := _either(part, "functionResponse", "function_response"):
            said = json.dumps(answered.get("response"), ensure_ascii=False, default=str)
            results.append({"role": "tool", "name": answered.get("name"), "content": said})
        elif "text" in part:
            kind = "thinking" if part.get("thought") else "text"
            content.append({"type": kind, "text": part["text"]})
        elif data := _either(part, "inlineData", "inline_data"):
            media = data.get("mimeType") or data.get("mime_type")
            url = f"data:{media};base64,{data.get('data')}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        elif "image/" in str(data := _either(part, "fileData", "file_data")):
            content.append({"file_data": data})
        else:
            content.append({"type": "text", "text": json.dumps(part, default=str)})
    role = openai.role_of(item.get("role") or "assistant")
    message: Message = {"role": "user" if role == "function" else role, "content": content}
    if calls:
        message["tool_calls"] = calls
    return [message, *results] if content or calls else results or [message]


def _either(part: Message, *names: str) -> Message | None:
    return next((part[name] for name in names if isinstance(part.get(name), dict)), None)
