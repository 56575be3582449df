"""Anthropic's messages, and others whose tool calls and results are blocks of the content.

Bedrock's and Haystack's blocks hold an object under a name; those of Vercel's AI SDK have a type,
and those of Semantic Kernel, which are the items of a message, a content type.

Text, thinking and image blocks are parts that the service reads, and are passed on as they are.

To add a kind of tool block: nothing is to be done if its type ends on `tool_use` or `tool_result`.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message

_CALLS = ("toolUse", "tool_call")
_RESULTS = ("toolResult", "tool_call_result")
_IDS = ("id", "tool_use_id", "toolUseId", "toolCallId", "tool_call_id")
_SHOWN = ("title", "url", "stdout", "stderr", "error_code", "error_message")


def fits(item: Message) -> bool:
    """Return whether a message holds a block of a tool."""
    blocks = item.get(_place(item))
    return isinstance(item.get("role"), str) and any(
        _is_call(block) or _is_result(block)
        for block in (blocks if isinstance(blocks, list) else ())
    )


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI messages: a tool message for each result, and calls beside the content."""
    read: list[Message] = []
    for item in items:
        for each in _split(item) if fits(item) else [item]:
            read += _read_message(each) if fits(each) else openai.read([each])
    return read


def _split(item: Message) -> Iterator[Message]:
    """Yield the turns in one of the assistant, which goes on after the results of hosted tools."""
    place = _place(item)
    blocks = item[place]
    starts = [0]
    if openai.role_of(item["role"]) == "assistant":
        pairs = enumerate(pairwise(blocks), start=1)
        starts += [n for n, (one, two) in pairs if _is_result(one) and not _is_result(two)]
    for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
        yield item | {place: blocks[start:end]}


def _read_message(item: Message) -> list[Message]:
    place = _place(item)
    blocks = item[place]
    calls = [_call(block) for block in blocks if _is_call(block)]
    results = [_result(block) for block in blocks if _is_result(block)]
    parts = [block for block in blocks if not (_is_call(block) or _is_result(block))]
    [message] = openai.read([{"role": item["role"], place: parts}])
    if calls:
        # Hosted tools answer within the turn that calls them, so their results come after it.
        return [message | {"tool_calls": calls}, *results]
    return [*results, message] if parts else results


def _place(item: Message) -> str:
    """Return the field that holds the blocks."""
    return "content" if item.get("content") is not None else "items"


def _call(block: Message) -> Message:
    held = _held(block, _CALLS) or block
    arguments = next((held[each] for each in ("input", "args", "arguments") if each in held), None)
    function = {"name": _first(held, "name", "toolName", "tool_name"), "arguments": arguments}
    return {"id": _first(held, *_IDS), "type": "function", "function": function}


def _result(block: Message) -> Message:
    held = _held(block, _RESULTS) or block
    content = _first(held, "content", "output", "result")
    if isinstance(content, dict):
        # Vercel's AI SDK says of which type a value is, or why there is none.
        said = content.get("value", content.get("reason"))
        content = [content] if said is None else said
    if isinstance(content, list):
        content = [_text_of(part) for part in content]
    origin = _held(held, ("origin",)) or held
    result = {"role": "tool", "tool_call_id": _first(origin, *_IDS), "content": content}
    names = ("name",) if _content_type(block) else ("toolName", "tool_name")
    if called := _first(origin, *names):
        result["name"] = called
    return openai.read([result])[0]


def _text_of(part: Any) -> Any:
    """Return a part of a result; what a hosted tool found, printed or failed with is its text."""
    kind = str(part.get("type", "")) if isinstance(part, dict) else ""
    if not kind.endswith(("_result", "_result_error")) or kind == "search_result":
        return part
    held = part.get("content")
    said = openai.document_text(held) if isinstance(held, dict) else held
    shown = [text for name in _SHOWN if (text := part.get(name)) and isinstance(text, str)]
    shown += [said] if said and isinstance(said, str) else []
    return {"type": "text", "text": f"{' '.join(shown) or openai.dump(part)}\n"}


def _held(block: Any, names: Sequence[str]) -> Message | None:
    """Return the object that a block of Bedrock's or Haystack's holds under one of these names."""
    if not isinstance(block, dict):
        return None
    return next((block[name] for name in names if isinstance(block.get(name), dict)), None)


def _first(held: Any, *names: str) -> Any:
    return next((held[name] for name in names if held.get(name) is not None), None)


def _content_type(block: Any) -> Any:
    return block.get("content_type") if isinstance(block, dict) else None


def _is_call(block: Any) -> bool:
    if _held(block, _CALLS) or _content_type(block) == "function_call":
        return True
    kind = str(block.get("type", "")) if isinstance(block, dict) else ""
    is_call = kind.endswith("tool_use") or kind == "server_tool_call"
    return is_call or (kind == "tool-call" and "toolCallId" in block)


def _is_result(block: Any) -> bool:
    if _held(block, _RESULTS) or _content_type(block) == "function_result":
        return True
    kind = str(block.get("type", "")) if isinstance(block, dict) else ""
    is_named = isinstance(block, dict) and not block.keys().isdisjoint(_IDS[1:])
    return (kind.endswith("tool_result") and is_named) or (
        kind == "tool-result" and "toolCallId" in block
    )
