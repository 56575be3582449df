"""Trajectories -> what a judge may see: plain text, escaped, equal ones once, shared parts once.

Nothing a trajectory contains can close our tags or open new ones; ids, logprobs and extra keys of
messages are left out. Two trajectories with the same text here are the same to every judge.
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

_LINE_ENDS = re.compile(r"[\n\x85\u2028\u2029]")
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


def transcribe(
    request: RankRequest, shown: Sequence[int], *, view: View = "as_told", datamark: bool = False
) -> Transcript:
    """Render the trajectories with the indices `shown`.

    Args:
        request: the group.
        shown: indices of its trajectories.
        view: `as_told` keeps the order of messages; `actions_first` shows tool calls and their
            results before, and apart from, what was said.
        datamark: put `escape.DATAMARK` before every run of whitespace in what trajectories say
            (not in task, reference and tools).

    Returns:
        The transcript. Digests, their order and what is shared depend on neither option.
    """
    blocks: dict[str, list[str]] = {}
    members: dict[str, list[int]] = {}
    for index in shown:
        rendered = _blocks(request.trajectories[index], clean)
        digest = sha256("\n".join(rendered).encode()).hexdigest()
        blocks[digest] = rendered
        members.setdefault(digest, []).append(index)
    digests = sorted(blocks)
    num_shared = _num_shared([blocks[digest] for digest in digests])
    if datamark or view == "actions_first":
        cleaner = mark_spaces if datamark else clean
        for digest in digests:
            trajectory = request.trajectories[members[digest][0]]
            blocks[digest] = _blocks(trajectory, cleaner)
            if view == "actions_first":
                blocks[digest][num_shared:] = _actions_first(trajectory, num_shared, cleaner)
    shared = blocks[digests[0]][:num_shared] if digests else []
    return Transcript(
        context=_context(request, shared),
        bodies=["\n".join(filter(None, blocks[digest][num_shared:])) for digest in digests],
        digests=digests,
        members=[members[digest] for digest in digests],
    )


def _num_shared(blocks: list[list[str]]) -> int:
    """How many leading blocks all have in common; the last one of each does not count."""
    columns = zip(*(each[:-1] for each in blocks), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _blocks(trajectory: Trajectory, cleaner: Cleaner) -> list[str]:
    """One text per message; the last one, never shared, says how the trajectory ended."""
    blocks = [_tools(trajectory.tools)] if trajectory.tools else []
    answered: dict[str, str] = {}  # the calls so far, by id; agents do reuse ids
    for message in trajectory.messages:
        if message.role == "tool":
            blocks.append(_result(message, answered, cleaner))
            continue
        text = message.text
        parts = [cleaner(text)] if text else []
        if message.tool_calls:
            parts += _calls(message, answered, cleaner)
        blocks.append(_message(message.role, parts))
    blocks.append(_end(trajectory, cleaner))
    return blocks


def _actions_first(trajectory: Trajectory, num_shared: int, cleaner: Cleaner) -> list[str]:
    """The blocks after the shared ones, as what was done, what was said, and the end.

    Users' words stay among what was said: without them the agent's make no sense.
    """
    tools = [_tools(trajectory.tools)] if trajectory.tools else []
    start = max(0, num_shared - len(tools))
    answered: dict[str, str] = {}
    for message in trajectory.messages[:start]:
        _calls(message, answered, cleaner)
    actions, claims = [], []
    for message in trajectory.messages[start:]:
        if message.role == "tool":
            actions.append(_result(message, answered, cleaner))
            continue
        actions += _calls(message, answered, cleaner)
        if message.text:
            claims.append(_message(message.role, [cleaner(message.text)]))
    sections = [_section("actions", actions), _section("claims", claims)]
    return [*tools[num_shared:], *sections, _end(trajectory, cleaner)]


def _section(tag: str, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return f"<{tag}>\n{inner}\n</{tag}>" if parts else f"<{tag}>none</{tag}>"


def _end(trajectory: Trajectory, cleaner: Cleaner) -> str:
    reason = trajectory.finish_reason
    if not reason:
        return ""
    return f"<finish_reason>{_CUT_OFF.get(reason) or cleaner(reason)}</finish_reason>"


def _message(role: str, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return f'<message role="{role}">\n{inner}\n</message>'


def _result(message: Message, answered: dict[str, str], cleaner: Cleaner) -> str:
    call = answered[message.tool_call_id or ""]
    return f"<tool_result {call}>\n{cleaner(message.text)}\n</tool_result>"


def _calls(message: Message, answered: dict[str, str], cleaner: Cleaner) -> list[str]:
    """The message's calls as shown; `answered` learns how their results will name them."""
    shown = []
    for call, number in _numbered(message.tool_calls or ()):
        shown.append(_call(call, number, cleaner))
        answered[call.id] = f'name="{_attribute(call.function.name, cleaner)}"{number}'
    return shown


def _numbered(calls: Sequence[ToolCall]) -> list[tuple[ToolCall, str]]:
    """Each call with an attribute that tells parallel ones apart, as their ids (never shown) do."""
    if len(calls) == 1:
        return [(calls[0], "")]
    return [(call, f' number="{number}"') for number, call in enumerate(calls, start=1)]


def _call(call: ToolCall, number: str, cleaner: Cleaner) -> str:
    shown = cleaner(f"{call.function.name}({_arguments(call.function.arguments)})")
    return f"<tool_call{number}>{shown}</tool_call>"


def _arguments(arguments: str | dict[str, Any]) -> str:
    """`key=value, ...` with JSON values; the raw text where they are no object, or too deep."""
    try:
        parsed = orjson.loads(arguments) if isinstance(arguments, str) else arguments
        return ", ".join([f"{key}={_json(value)}" for key, value in parsed.items()])
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


def _attribute(name: str, cleaner: Cleaner) -> str:
    if name.isascii() and name.isidentifier():  # most are, and need neither
        return name[:128]
    return escape(_LINE_ENDS.sub(" ", cleaner(name))[:128])
