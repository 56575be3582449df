"""Render a group's trajectories as the texts that a judge sees.

Text is escaped, so that nothing in a trajectory can close our tags or open new ones. Equal
trajectories, and the first messages that all share, are rendered once. Ids, logprobs and extra keys
of messages are left out. Two trajectories with the same text here are equal for every judge.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from itertools import takewhile
from typing import Any, Literal

import orjson

from podium_service.prompts.defences.escape import clean, mark_spaces
from podium_service.schemas import Message, RankRequest, Tool, Trajectory

View = Literal["as_told", "actions_first"]
Cleaner = Callable[[str], str]

_MAX_NAME_CHARS = 128
_LINE_ENDS = re.compile(r"[\n\x85\u2028\u2029]")
# Only these say something: any other reason, such as `stop`, is the common end of a message.
_CUT_OFF = {
    "length": "length (the last message was cut off at the token limit)",
    "content_filter": "content_filter (the last message was stopped by a filter)",
}


@dataclass(frozen=True, slots=True)
class Transcript:
    """The texts of a group with N distinct trajectories, sorted by digest.

    Attributes:
        context: task, reference, tools and the messages that all trajectories share.
        bodies: N texts, the rest of each distinct trajectory.
        digests: N hex SHA-256 digests of the distinct trajectories' whole texts.
        members: N lists of indices into the request, the trajectories that each body stands for.
        num_shared: how many first blocks (tools, messages) are in the context, not in the bodies.
        is_plain: whether the texts are in the plain layout, without tags of ours (see `plain`).
    """

    context: str
    bodies: list[str]
    digests: list[str]
    members: list[list[int]]
    num_shared: int = 0
    is_plain: bool = False


def transcribe(
    request: RankRequest, shown: Sequence[int], *, view: View = "as_told", datamark: bool = False
) -> Transcript:
    """Render a group's trajectories.

    Args:
        request: the group.
        shown: indices of the trajectories to render.
        view: `as_told` keeps the order of messages; `actions_first` puts tool calls and their
            results before, and apart from, texts.
        datamark: put `escape.DATAMARK` before every run of whitespace in trajectories (not in task,
            reference and tools).

    Returns:
        The transcript. Neither option changes digests, their order or the shared messages' number.
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
        num_shared=num_shared,
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
        parts += _render_calls(message, call_attributes, cleaner)
        blocks.append(_wrap("message", parts, f' role="{message.role}"'))
    blocks.append(_render_end(trajectory))
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
            claims.append(_wrap("message", [cleaner(message.text)], f' role="{message.role}"'))
    sections = [
        _wrap(tag, parts) if parts else f"<{tag}>none</{tag}>"
        for tag, parts in (("actions", actions), ("claims", claims))
    ]
    return [*tools[num_shared:], *sections, _render_end(trajectory)]


def _wrap(tag: str, parts: Sequence[str], attributes: str = "") -> str:
    inner = "\n".join(parts)
    return f"<{tag}{attributes}>\n{inner}\n</{tag}>"


def _render_end(trajectory: Trajectory) -> str:
    reason = _CUT_OFF.get(trajectory.finish_reason or "")
    return f"<finish_reason>{reason}</finish_reason>" if reason else ""


def _render_result(message: Message, call_attributes: dict[str, str], cleaner: Cleaner) -> str:
    attributes = call_attributes[message.tool_call_id or ""]
    return _wrap("tool_result", [cleaner(message.text)], attributes)


def _render_calls(message: Message, call_attributes: dict[str, str], cleaner: Cleaner) -> list[str]:
    """Render a message's calls, and add to `call_attributes` how their results name them.

    Parallel calls are numbered to tell them apart, because their ids are not shown.
    """
    texts = []
    calls = message.tool_calls or ()
    for count, call in enumerate(calls, start=1):
        number = f' number="{count}"' if len(calls) > 1 else ""
        name = call.function.name
        call_attributes[call.id] = f' name="{_clean_name(name, cleaner)}"{number}'
        text = cleaner(f"{name}({_render_arguments(call.function.arguments)})")
        texts.append(f"<tool_call{number}>{text}</tool_call>")
    return texts


def _render_arguments(arguments: str | dict[str, Any]) -> str:
    """Render `key=value, ...` with JSON values; the raw text if it is no object or too deep."""
    try:
        members = orjson.loads(arguments) if isinstance(arguments, str) else arguments
        if isinstance(arguments, str) and _holds_float(members):
            # A float may be a rounded number, so all numbers are shown as the client wrote them.
            members = json.loads(arguments, parse_int=_Written, parse_float=_Written)
        return ", ".join([f"{key}={_dump(value)}" for key, value in members.items()])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, AttributeError, RecursionError):
        return str(arguments)


class _Written(str):
    """A JSON number as it was written."""


def _holds_float(value: Any) -> bool:
    """Return whether there is a float anywhere in a JSON value."""
    level = [value]
    while level:
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below += item.values()
            elif type(item) is list:
                below += item
            elif type(item) is float:
                return True
        level = below
    return False


def _dump(value: Any) -> str:
    """Return the JSON of a value, integers beyond 64 bits and numbers as written included."""
    try:
        return orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()
    except orjson.JSONEncodeError:
        return _dump_exactly(value)


def _dump_exactly(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_dump(key)}:{_dump_exactly(each)}" for key, each in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_dump_exactly, value))}]"
    if isinstance(value, _Written) or type(value) is int:
        return str(value)
    return orjson.dumps(value).decode()


def _render_context(request: RankRequest, shared: list[str]) -> str:
    parts = []
    if request.task:
        parts.append(_wrap("task", [clean(request.task)]))
    if request.reference:
        parts.append(_wrap("reference", [clean(request.reference)]))
    if request.tools:
        parts.append(_render_tools(request.tools))
    if shared:
        parts.append(_wrap("shared_messages", shared))
    return "\n\n".join(parts)


def _render_tools(tools: list[Tool]) -> str:
    lines = [clean(_dump(tool.get("function", tool))) for tool in tools]
    return _wrap("tools", lines)


def _clean_name(name: str, cleaner: Cleaner) -> str:
    """Return a tool's name as the value of an attribute."""
    if name.isascii() and name.isidentifier():  # most names, which need no cleaning
        return name[:_MAX_NAME_CHARS]
    return escape(_LINE_ENDS.sub(" ", cleaner(name))[:_MAX_NAME_CHARS])
