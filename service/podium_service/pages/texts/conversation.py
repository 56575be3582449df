"""Turn the messages of attempts into turns: tool calls with their results, the prompt once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

Message = dict[str, Any]
_REASONING = ("reasoning_content", "reasoning", "thinking")


@dataclass
class ToolUse:
    """A tool call and what came back; a result of None never came."""

    name: str
    arguments: str
    result: str | None = None

    @property
    def texts(self) -> tuple[str, str]:
        """The arguments of the call and its result."""
        return self.arguments, self.result or ""


@dataclass
class Turn:
    """One message, with the tools it calls; a result that belongs to no call is a turn itself."""

    role: str
    text: str
    reasoning: str = ""
    tools: list[ToolUse] = field(default_factory=list)


def count_shared(conversations: Sequence[Sequence[Message]]) -> int:
    """Return the number of messages with which all conversations begin.

    An assistant's messages that all share are counted, too, unless nothing would be left.
    """
    if not conversations:
        return 0
    first, least = conversations[0], min(map(len, conversations))
    shared = 0
    while shared < least and all(each[shared] == first[shared] for each in conversations):
        shared += 1
    if len(conversations) == 1 or shared == max(map(len, conversations)):
        # Alone, or all the same: only what comes before the first completion is a prompt.
        roles = [message.get("role") for message in first]
        return min(shared, roles.index("assistant") if "assistant" in roles else len(roles))
    return shared


def read_turns(messages: Sequence[Message]) -> list[Turn]:
    """Return the turns of a conversation, in order."""
    turns: list[Turn] = []
    waiting: dict[str, ToolUse] = {}
    for message in messages:
        role = str(message.get("role", ""))
        text = content_text(message.get("content"))
        if role == "tool":
            key = message.get("tool_call_id")
            use = waiting.pop(key, None) if isinstance(key, str) else None
            if use is None and key is None and waiting:
                use = waiting.pop(next(iter(waiting)))
            if use is not None:
                use.result = text
                continue
        turn = Turn(role, text, _reasoning(message))
        for call in message.get("tool_calls") or []:
            use = _read_call(call)
            turn.tools.append(use)
            waiting[str(call.get("id") or f"#{len(waiting)}")] = use
        turns.append(turn)
    return turns


def content_text(content: Any) -> str:
    """Return the text of a message's content; a part that is no text is named in brackets."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return str(content)
    return "\n".join(_part_text(part) for part in content)


def count_written(messages: Sequence[Message]) -> int:
    """Return the number of characters that the policy wrote."""
    return sum(
        len(content_text(each.get("content")))
        + sum(len(_read_call(call).arguments) for call in each.get("tool_calls") or [])
        for each in messages
        if each.get("role") == "assistant"
    )


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type", "part") if isinstance(part, dict) else "part"
    return f"[{kind}]"


def _reasoning(message: Message) -> str:
    for name in _REASONING:
        if isinstance(value := message.get(name), str) and value:
            return value
    return ""


def _read_call(call: Any) -> ToolUse:
    function = call.get("function") or {} if isinstance(call, dict) else {}
    return ToolUse(str(function.get("name", "?")), pretty_json(function.get("arguments", "")))


def pretty_json(value: Any) -> str:
    """Return JSON with one member a line if it is long, or the text as it is if it is no JSON."""
    try:
        parsed = orjson.loads(value) if isinstance(value, str) else value
        short = orjson.dumps(parsed).decode()
        if len(short) <= 60:
            return short
        return orjson.dumps(parsed, option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return str(value)
