"""OpenAI's chat messages, also with ART's choices between them and other names of the roles.

This is the form of the wire, so most of a message is passed on as it is, images included.

To add a name of a role: put it into `ROLES`.
"""

from typing import Any

from podium.formats.fields import decoded
from podium.formats.record import Message

ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "gpt":
    "assistant", "chatgpt": "assistant", "agent": "assistant", "policy": "assistant",
    "environment": "user", "env": "user", "observation": "tool", "ipython": "tool",
    "tool_response": "tool", "tool_result": "tool", "function_response": "tool",
}  # fmt: skip


def fits(item: Message) -> bool:
    """Return whether an item is a chat message, or a choice that holds one."""
    return isinstance(item.get("role"), str) or _is_choice(item)


def read(items: list[Message]) -> list[Message]:
    """Return the messages with the roles and the fields that the service knows."""
    return [_read_message(item["message"] if _is_choice(item) else item) for item in items]


def role_of(name: Any) -> Any:
    """Return OpenAI's name of a role; what is unknown stays as it is."""
    return ROLES.get(name.lower(), name.lower()) if isinstance(name, str) else name


def _is_choice(item: Message) -> bool:
    message = item.get("message")
    return isinstance(message, dict) and isinstance(message.get("role"), str)


def _read_message(message: Message) -> Message:
    read = {name: value for name, value in message.items() if value is not None}
    read["role"] = role_of(message.get("role"))
    content = message.get("content")
    if isinstance(content, dict):
        read["content"] = [content]
    elif isinstance(content, int | float):
        read["content"] = str(content)
    for name in ("tool_calls", "function_call"):
        if isinstance(message.get(name), str):
            read[name] = decoded(message[name])
    if not read.get("tool_calls"):
        read.pop("tool_calls", None)
    return read
