"""Render a group's trajectories as the texts that a judge sees.

Text is escaped, so that nothing in a trajectory can close our tags or open new ones. Equal
trajectories, and the first messages that all share, are rendered once. Ids, logprobs and extra keys
of messages are left out. Two trajectories with the same text here are equal for every judge.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from itertools import takewhile
from typing import Any, Literal

import orjson

from podium_service.prompts.defences.escape import clean, mark_spaces
from podium_service.schemas import Message, RankRequest, Tool, ToolCall, Trajectory

View = Literal["as_told", "actions_first"]
Cleaner = Callable[[str], str]

_MAX_NAME_CHARS = 128
_LINE_ENDS = re.compile(r"[\n\x85\u2028\u2029]")
_CUT_OFF = {"length": "length (the last message was cut off at the token limit)"}


@dataclass(frozen=True, slots=True)
class Transcript:
    """The texts of a group with N distinct trajectories, sorted by digest.

    Attributes:
        context: task, reference, tools and the messages that all trajectories share.
        bodies: N texts, the rest of each distinct trajectory.
        digests: N hex SHA-256 digests of the distinct trajectories' whole texts.
        members: N lists of indices into the request, the trajectories that each body stands for.
    """

    context: str
    bodies: list[str]
    digests: list[str]
    members: list[list[int]]


def transcribe(
    request: RankRequest, shown: Sequence[int], *, view: View = "as_told", datamark: bool = False
) -> Transcript:
    """Render the trajectories with the indices `shown`.

    Args:
        request: the group.
        shown: indices of its trajectories.
        view: `as_told` keeps the order of messages; `actions_first` puts tool calls and their
            results before, and apart from, texts.
        datamark: put `escape.DATAMARK` before every run of whitespace in trajectories (not in task,
            reference and tools).

    Returns:
        The transcript. Neither option changes digests, their order or the number of shared
        messages.
    """
    blocks: dict[str, list[str]] = {}
    members: dict[str, list[int]] = {}
    for index in shown:
        texts = _render(request.trajectories[index], clean)
        digest = sha256("\n".join(texts).encode()).hexdigest()
        blocks[digest] = texts
        members.setdefault(digest, []).append(index)
    digests = sorted(blocks)
    num_shared = _count_shared([blocks[digest] for digest in digests])
    if datamark or view == "actions_first":
        cleaner = mark_spaces if datamark else clean
        for digest in digests:
            trajectory = request.trajectories[members[digest][0]]
            blocks[digest] = _render(trajectory, cleaner)
            if view == "actions_first":
                sections = _render_actions_first(trajectory, num_shared, cleaner)
                blocks[digest][num_shared:] = sections
    shared = blocks[digests[0]][:num_shared] if digests else []
    return Transcript(
        context=_render_context(request, shared),
        bodies=["\n".join(filter(None, blocks[digest][num_shared:])) for digest in digests],
        digests=digests,
        members=[members[digest] for digest in digests],
    )


def _count_shared(blocks: list[list[str]]) -> int:
    """Count the first blocks that are equal in all trajectories, without the last of each."""
    columns = zip(*(each[:-1] for each in blocks), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _render(trajectory: Trajectory, cleaner: Cleaner) -> list[str]:
    """Render one block for each message and, last and never shared, one for the finish reason."""
    blocks = [_render_tools(trajectory.tools)] if trajectory.tools else []
    call_attributes: dict[str, str] = {}  # of the latest call with an id, because agents reuse ids
    for message in trajectory.messages:
        if message.role == "tool":
            blocks.append(_render_result(message, call_attributes, cleaner))
            continue
        text = message.text
        parts = [cleaner(text)] if text else []
        if message.tool_calls:
            parts += _render_calls(message, call_attributes, cleaner)
        blocks.append(_wrap_message(message.role, parts))
    blocks.append(_render_end(trajectory, cleaner))
    return blocks


def _render_actions_first(trajectory: Trajectory, num_shared: int, cleaner: Cleaner) -> list[str]:
    """Render the blocks after the shared ones as actions, claims and the finish reason.

    Users' texts are among the claims, because without them the agent's texts make no sense.
    """
    tools = [_render_tools(trajectory.tools)] if trajectory.tools else []
    start = max(0, num_shared - len(tools))
    call_attributes: dict[str, str] = {}
    for message in trajectory.messages[:start]:
        _render_calls(message, call_attributes, cleaner)
    actions, claims = [], []
    for message in trajectory.messages[start:]:
        if message.role == "tool":
            actions.append(_render_result(message, call_attributes, cleaner))
            continue
        actions += _render_calls(message, call_attributes, cleaner)
        if message.text:
            claims.append(_wrap_message(message.role, [cleaner(message.text)]))
    sections = [_wrap_section("actions", actions), _wrap_section("claims", claims)]
    return [*tools[num_shared:], *sections, _render_end(trajectory, cleaner)]


def _wrap_section(tag: str, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return f"<{tag}>\n{inner}\n</{tag}>" if parts else f"<{tag}>none</{tag}>"


def _render_end(trajectory: Trajectory, cleaner: Cleaner) -> str:
    reason = trajectory.finish_reason
    if not reason:
        return ""
    return f"<finish_reason>{_CUT_OFF.get(reason) or cleaner(reason)}</finish_reason>"


def _wrap_message(role: str, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return f'<message role="{role}">\n{inner}\n</message>'


def _render_result(message: Message, call_attributes: dict[str, str], cleaner: Cleaner) -> str:
    attributes = call_attributes[message.tool_call_id or ""]
    return f"<tool_result {attributes}>\n{cleaner(message.text)}\n</tool_result>"


def _render_calls(message: Message, call_attributes: dict[str, str], cleaner: Cleaner) -> list[str]:
    """Render a message's calls, and add to `call_attributes` how their results name them."""
    texts = []
    for call, number in _number_calls(message.tool_calls or ()):
        texts.append(_render_call(call, number, cleaner))
        call_attributes[call.id] = f'name="{_clean_name(call.function.name, cleaner)}"{number}'
    return texts


def _number_calls(calls: Sequence[ToolCall]) -> list[tuple[ToolCall, str]]:
    """Give parallel calls an attribute that tells them apart, because their ids are not shown."""
    if len(calls) == 1:
        return [(calls[0], "")]
    return [(call, f' number="{number}"') for number, call in enumerate(calls, start=1)]


def _render_call(call: ToolCall, number: str, cleaner: Cleaner) -> str:
    text = cleaner(f"{call.function.name}({_render_arguments(call.function.arguments)})")
    return f"<tool_call{number}>{text}</tool_call>"


def _render_arguments(arguments: str | dict[str, Any]) -> str:
    """Render `key=value, ...` with JSON values; the raw text if it is no object or too deep."""
    try:
        members = orjson.loads(arguments) if isinstance(arguments, str) else arguments
        return ", ".join([f"{key}={_to_json(value)}" for key, value in members.items()])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, AttributeError):
        return str(arguments)


def _render_context(request: RankRequest, shared: list[str]) -> str:
    parts = []
    if request.task:
        parts.append(f"<task>\n{clean(request.task)}\n</task>")
    if request.reference:
        parts.append(f"<reference>\n{clean(request.reference)}\n</reference>")
    if request.tools:
        parts.append(_render_tools(request.tools))
    if shared:
        inner = "\n".join(shared)
        parts.append(f"<shared_messages>\n{inner}\n</shared_messages>")
    return "\n\n".join(parts)


def _render_tools(tools: list[Tool]) -> str:
    lines = "\n".join(clean(_to_json(tool.get("function", tool))) for tool in tools)
    return f"<tools>\n{lines}\n</tools>"


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _clean_name(name: str, cleaner: Cleaner) -> str:
    """Return a tool's name as the value of an attribute."""
    if name.isascii() and name.isidentifier():  # most names, which need no cleaning
        return name[:_MAX_NAME_CHARS]
    return escape(_LINE_ENDS.sub(" ", cleaner(name))[:_MAX_NAME_CHARS])
