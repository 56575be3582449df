"""Messages of OpenTelemetry's GenAI conventions: a role and parts, each with a type.

The messages of Vercel's AI SDK have the same form, with `text` in place of `content`.

To add a type of part: give it a branch in `_read_message`.
"""

import json
from typing import Any

from podium.formats.chats import openai
from podium.formats.record import Message


def fits(item: Message) -> bool:
    """Return whether an item has parts with types."""
    parts = item.get("parts")
    return (
        isinstance(item.get("role"), str)
        and isinstance(parts, list)
        and any(isinstance(part, dict) and "type" in part for part in parts)
    )


def read(items: list[Message]) -> list[Message]:
    """Return OpenAI chat messages; each result of a tool is a message of its own."""
    read: list[Message] = []
    for item in items:
        read += _read_message(item) if fits(item) else openai.read([item])
    return read


def _read_message(item: Message) -> list[Message]:
    content: list[Any] = []
    calls: list[Message] = []
    results: list[Message] = []
    role = openai.role_of(item["role"])
    before: list[Message] = []
    for part in item["parts"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if results and role == "assistant" and kind in ("text", "reasoning", "step-start"):
            # A turn of a page holds what the model said after the results, too.
            before += [_turn(role, content, calls), *results]
            content, calls, results = [], [], []
        if kind == "tool_call":
            calls.append(_call(part.get("id"), part.get("name"), part.get("arguments")))
        elif isinstance(part, dict) and isinstance(made := part.get("toolInvocation"), dict):
            calls.append(_call(made.get("toolCallId"), made.get("toolName"), made.get("args")))
            if "result" in made:  # before version 5 of Vercel's AI SDK
                results.append(_result({"id": made.get("toolCallId"), "response": made["result"]}))
        elif isinstance(kind, str) and "toolCallId" in part:
            name = part.get("toolName") or kind.removeprefix("tool-")
            calls.append(_call(part["toolCallId"], name, part.get("input")))
            if (said := part.get("output", part.get("errorText"))) is not None:
                results.append(_result({"id": part["toolCallId"], "response": said}))
        elif str(kind).startswith(("step-", "source-", "data-")):
            continue  # for the page alone
        elif kind == "tool_call_response":
            results.append(_result(part))
        elif kind in ("text", "reasoning"):
            said = part["content"] if "content" in part else part.get("text")
            content.append({"type": kind, "text": said if isinstance(said, str) else ""})
        else:
            content.append(part)
    message = _turn(role, content, calls)
    if not content and not calls:
        return [*before, *results] if before or results else [message]
    return [*before, message, *results]


def _turn(role: Any, content: list[Any], calls: list[Message]) -> Message:
    made = {"tool_calls": calls} if calls else {}
    return {"role": role, "content": content, **made}


def _call(id: Any, name: Any, arguments: Any) -> Message:
    return {"id": id, "name": name, "arguments": arguments}


def _result(part: Message) -> Message:
    said = next((part[name] for name in ("response", "result") if part.get(name)), None)
    if said is not None and not isinstance(said, str):
        said = json.dumps(said, ensure_ascii=False, default=str)
    return {"role": "tool", "tool_call_id": part.get("id"), "content": said}
