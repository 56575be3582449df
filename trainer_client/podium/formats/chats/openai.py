"""OpenAI's chat messages, also with ART's choices between them and other names of the roles.

This is the form of the wire, so most of a message is passed on as it is, images included.

To add a name of a role: put it into `ROLES`; of a call's arguments: into `_ARGUMENTS`.
"""

import json
from typing import Any

from podium.formats.fields import decoded
from podium.formats.record import Message

ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "gpt":
    "assistant", "chatgpt": "assistant", "agent": "assistant", "policy": "assistant",
    "environment": "user", "env": "user", "observation": "tool", "ipython": "tool",
    "tool_response": "tool", "tool_result": "tool", "function_response": "tool",
    "prompter": "user", "tool_call": "assistant",
}  # fmt: skip
_ARGUMENTS = ("arguments", "args", "parameters", "input")
# A part has one of these; other objects are data, which are shown as JSON.
_PART = {
    "type", "text", "inline_data", "inlineData", "file_data", "fileData", "image", "video", "audio",
    "document",
}  # fmt: skip


def fits(item: Message) -> bool:
    """Return whether an item is a chat message, or a choice that holds one."""
    return isinstance(item.get("role"), str) or _is_choice(item)


def read(items: list[Message]) -> list[Message]:
    """Return the messages with the roles and the fields that the service knows."""
    return [_read_message(item["message"] if _is_choice(item) else item) for item in items]


def role_of(name: Any) -> Any:
    """Return OpenAI's name of a role; what is unknown stays as it is."""
    if not isinstance(name, str):
        return name
    name = name.lower().replace("-", "_")
    return ROLES.get(name, name)


def _is_choice(item: Message) -> bool:
    message = item.get("message")
    return isinstance(message, dict) and isinstance(message.get("role"), str)


def _read_message(message: Message) -> Message:
    read = {name: value for name, value in message.items() if value is not None}
    read["role"] = role_of(message.get("role"))
    if (content := _content_of(message)) is not None:
        read["content"] = content
    if isinstance(thoughts := read.get("thinking"), str):
        read.setdefault("reasoning_content", thoughts)  # Ollama
    for name in ("tool_calls", "function_call"):
        if isinstance(message.get(name), str):
            read[name] = decoded(message[name])
    calls = read.pop("tool_calls", None)
    if isinstance(calls, dict):
        calls = [calls]
    if calls:
        read["tool_calls"] = list(map(_read_call, calls)) if isinstance(calls, list) else calls
    return read


def _content_of(message: Message) -> Any:
    """Return the content in OpenAI's form, wherever it stands; None for a turn without any."""
    content, images = _read_content(message.get("content")), message.get("images")
    if content is None and isinstance(blocks := message.get("blocks"), list):  # LlamaIndex
        content = [
            {"type": each.get("block_type"), **each} if isinstance(each, dict) else each
            for each in blocks
        ]
    if content is None and isinstance(audio := message.get("audio"), dict):
        content = audio.get("transcript")
    if isinstance(images, list) and images and all(isinstance(each, str) for each in images):
        shown = [{"type": "image", "data": each} for each in images]  # Ollama
        said = content if isinstance(content, list) else [content] if content else []
        content = [*said, *shown]
    return content


def _read_content(content: Any) -> Any:
    if isinstance(content, list):
        return [_read_part(each) for each in content if each is not None]
    if isinstance(content, dict):
        return [content] if content.keys() & _PART else _dump(content)
    return content if content is None or isinstance(content, str) else _dump(content)


def _read_part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if isinstance(thoughts := part.get("reasoningContent"), dict):
        return {"type": "thinking", "thinking": thoughts.get("reasoningText")}  # Bedrock
    if not part.keys() & _PART:
        return _dump(part)
    if part.get("type", "") is None:
        part = {name: value for name, value in part.items() if name != "type"}
    if isinstance(text := part.get("text"), dict) and isinstance(text.get("value"), str):
        part = {**part, "text": text["value"]}  # the Assistants API
    return part


def _read_call(call: Any) -> Any:
    """Return a call with a function of that name; it may be a custom tool's, or have other names.

    What is of OpenAI's form stays as it is.
    """
    if not isinstance(call, dict):
        return call
    held = next((call[x] for x in ("function", "custom") if isinstance(call.get(x), dict)), call)
    name = next((each for each in _ARGUMENTS if held.get(each) is not None), "arguments")
    arguments = held.get(name)
    is_plain = arguments is None or isinstance(arguments, str | dict | list)
    if call.get("type") in (None, "function") and name == "arguments" and is_plain:
        return call
    function = {"arguments": arguments if is_plain else _dump(arguments)}
    if "name" in held:
        function["name"] = held["name"]
    return {"id": call.get("id"), "type": "function", "function": function}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
