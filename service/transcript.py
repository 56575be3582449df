"""Trajectories -> what a judge may see: plain text, escaped, equal ones once, shared parts once.

Nothing a trajectory contains can close our tags or open new ones; ids, logprobs and extra keys of
messages are left out. Two trajectories with the same text here are the same to every judge.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from itertools import takewhile
from typing import Any

import orjson

from service.schemas import Message, RankRequest, Tool, ToolCall, Trajectory

_OUR_TAG = re.compile(
    r"<(?=\s*/?\s*(?:trajectory|message|tool_call|tool_result|finish_reason|trimmed"
    r"|task|reference|tools|shared_messages))",
    re.IGNORECASE,
)
# Control characters, and the invisible "tag" characters that smuggle text past human eyes.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\U000E0000-\U000E007F]")
_CONTROLS = bytes(i for i in range(128) if (i < 32 and i not in (9, 10, 13)) or i == 127)
_CUT_OFF = {"length": "length (the last message was cut off at the token limit)"}


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is shown of a group, in an order that does not depend on the request's.

    Attributes:
        context: task, reference, tools and the messages that all trajectories share.
        bodies: the rest of each distinct trajectory, sorted by digest.
        digests: hex sha256 of each distinct trajectory's whole text.
        members: for each body, the indices of the trajectories it stands for.
    """

    context: str
    bodies: list[str]
    digests: list[str]
    members: list[list[int]]


def transcribe(request: RankRequest, shown: Sequence[int]) -> Transcript:
    """Render the trajectories with the indices `shown`."""
    blocks: dict[str, list[str]] = {}
    members: dict[str, list[int]] = {}
    for index in shown:
        rendered = _blocks(request.trajectories[index])
        digest = sha256("\n".join(rendered).encode()).hexdigest()
        blocks[digest] = rendered
        members.setdefault(digest, []).append(index)
    digests = sorted(blocks)
    columns = zip(*(blocks[digest][:-1] for digest in digests), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    return Transcript(
        context=_context(request, shared),
        bodies=["\n".join(filter(None, blocks[digest][len(shared) :])) for digest in digests],
        digests=digests,
        members=[members[digest] for digest in digests],
    )


def clean(text: str) -> str:
    """Text that cannot be taken for ours: our tags' `<` escaped, invisible characters replaced."""
    if "<" in text:
        text = _OUR_TAG.sub("&lt;", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():  # the common case, three times as fast
        raw = text.encode("ascii")
        if len(raw.translate(None, _CONTROLS)) == len(raw):
            return text
    return _INVISIBLE.sub("\ufffd", text)


def _blocks(trajectory: Trajectory) -> list[str]:
    """One text per message; the last one, never shared, says how the trajectory ended."""
    blocks = [_tools(trajectory.tools)] if trajectory.tools else []
    answered: dict[str, str] = {}  # the calls so far, by id; agents do reuse ids
    for message in trajectory.messages:
        blocks.append(_message(message, answered))
        for call, number in _numbered(message.tool_calls or ()):
            answered[call.id] = f'name="{_attribute(call.function.name)}"{number}'
    reason = trajectory.finish_reason
    blocks.append(
        f"<finish_reason>{_CUT_OFF.get(reason, clean(reason))}</finish_reason>" if reason else ""
    )
    return blocks


def _message(message: Message, answered: dict[str, str]) -> str:
    if message.role == "tool":
        call = answered[message.tool_call_id or ""]
        return f"<tool_result {call}>\n{clean(message.text)}\n</tool_result>"
    parts = [clean(message.text)] if message.text else []
    parts += [_call(call, number) for call, number in _numbered(message.tool_calls or ())]
    inner = "\n".join(parts)
    return f'<message role="{message.role}">\n{inner}\n</message>'


def _numbered(calls: Sequence[ToolCall]) -> list[tuple[ToolCall, str]]:
    """Each call with an attribute that tells parallel ones apart, as their ids (never shown) do."""
    if len(calls) == 1:
        return [(calls[0], "")]
    return [(call, f' number="{number}"') for number, call in enumerate(calls, start=1)]


def _call(call: ToolCall, number: str) -> str:
    shown = clean(f"{call.function.name}({_arguments(call.function.arguments)})")
    return f"<tool_call{number}>{shown}</tool_call>"


def _arguments(arguments: str | dict[str, Any]) -> str:
    """`key=value, ...` with JSON values; the raw text where they are no object, or too deep."""
    try:
        parsed = orjson.loads(arguments) if isinstance(arguments, str) else arguments
        return ", ".join(f"{key}={_json(value)}" for key, value in parsed.items())
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, AttributeError):
        return str(arguments)


def _context(request: RankRequest, shared: list[str]) -> str:
    parts = []
    if request.task:
        parts.append(f"<task>\n{clean(request.task)}\n</task>")
    if request.reference:
        parts.append(f"<reference>\n{clean(request.reference)}\n</reference>")
    if request.tools:
        parts.append(_tools(request.tools))
    if shared:
        inner = "\n".join(shared)
        parts.append(f"<shared_messages>\n{inner}\n</shared_messages>")
    return "\n\n".join(parts)


def _tools(tools: list[Tool]) -> str:
    lines = "\n".join(clean(_json(tool.get("function", tool))) for tool in tools)
    return f"<tools>\n{lines}\n</tools>"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _attribute(name: str) -> str:
    return escape(clean(name).replace("\n", " ")[:128])
