"""Anthropic's messages: tool calls and their results are blocks of the content.

Text, thinking and image blocks are parts that the service reads, and are passed on as they are.

To add a kind of tool block: nothing is to be done if its type ends on `tool_use` or `tool_result`.
"""

from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message


def fits(item: Message) -> bool:
    """Return whether a message holds a block of a tool."""
    content = item.get("content")
    return isinstance(item.get("role"), str) and any(
        _is_call(block) or _is_result(block)
        for block in (content if isinstance(content, list) else ())
    )


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI messages: a tool message for each result, and calls beside the content."""
    read: list[Message] = []
    for item in items:
        read += _read_message(item) if fits(item) else openai.read([item])
    return read


def _read_message(item: Message) -> list[Message]:
    blocks = item["content"]
    calls = [_call(block) for block in blocks if _is_call(block)]
    results = [_result(block) for block in blocks if _is_result(block)]
    parts = [block for block in blocks if not (_is_call(block) or _is_result(block))]
    message: Message = {"role": openai.role_of(item["role"]), "content": parts}
    if calls:
        # Hosted tools answer within the turn that calls them, so their results come after it.
        return [message | {"tool_calls": calls}, *results]
    return [*results, message] if parts else results


def _call(block: Message) -> Message:
    function = {"name": block.get("name"), "arguments": block.get("input")}
    return {"id": block.get("id"), "type": "function", "function": function}


def _result(block: Message) -> Message:
    content = block.get("content")
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        content = [_text_of(part) for part in content]
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}


def _text_of(part: Any) -> Any:
    """Return a part of a result; the hits of a hosted search are shown by title and address."""
    if isinstance(part, dict) and str(part.get("type", "")).endswith("_result"):
        shown = [str(part[name]) for name in ("title", "url", "stdout") if part.get(name)]
        return {"type": "text", "text": " ".join(shown) + "\n"}
    return part


def _is_call(block: Any) -> bool:
    return isinstance(block, dict) and str(block.get("type", "")).endswith("tool_use")


def _is_result(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and str(block.get("type", "")).endswith("tool_result")
        and "tool_use_id" in block
    )
