"""Stored judge calls -> the group they asked about, so that another judge can be asked.

The store keeps of a request only ids; the texts are in the prompts. What `transcribe` wrote can be
read back, since no trajectory can forge one of our tags. A group is taken only if `transcribe`
makes of it, byte for byte, the context and the bodies of the prompts: any judge is then shown what
the first one was shown, and the first one's own verdicts are found in the store again. Gated
trajectories were not shown and are not there; equal ones stand once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

import orjson

from podium_service.prompts.defences.escape import DATAMARK
from podium_service.prompts.templates import DEFAULT_RUBRIC
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest

_FENCED = re.compile(r'\n<trajectory-(\w+) id="(\w+)">\n(.*?)\n</trajectory-\1>\n', re.DOTALL)
_TRIMMED = '<trimmed characters="'
_CONTEXT = re.compile(
    r"(?:<task>\n(?P<task>.*?)\n</task>(?:\n\n|\Z))?"
    r"(?:<reference>\n(?P<reference>.*?)\n</reference>(?:\n\n|\Z))?"
    r"(?:<tools>\n(?P<tools>.*?)\n</tools>(?:\n\n|\Z))?"
    r"(?:<shared_messages>\n(?P<shared>.*?)\n</shared_messages>)?",
    re.DOTALL,
)
_BLOCK = re.compile(
    r'<message role="(?P<role>\w+)">\n(?P<inner>.*?)\n</message>'
    r'|<tool_result (?P<call>name="[^"]*"(?: number="\d+")?)>\n(?P<result>.*?)\n</tool_result>'
    r"|<finish_reason>(?P<finish>.*?)</finish_reason>"
    r"|<tools>\n(?P<tools>.*?)\n</tools>",
    re.DOTALL,
)
_CALL = re.compile(r'<tool_call(?P<number> number="\d+")?>(?P<said>.*?)</tool_call>', re.DOTALL)
_CUT_OFF = "length ("
_RUBRIC = re.compile(r"\nRubric:\n(.*)\n\nRules:\n", re.DOTALL)
_LINE_ENDS = re.compile(r"[\n\x85\u2028\u2029]")
_MAX_NAME = 128
_UNREADABLE = "shown in a form that cannot be read back"


class CannotRebuild(ValueError):
    """Why a stored group cannot be shown to another judge."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a judge was shown of one group: its instructions, the context, the bodies by index."""

    system: str
    context: str
    bodies: list[str]


def shown(calls: Sequence[dict[str, Any]]) -> Shown:
    """What the calls of one content key showed together.

    Args:
        calls: as `SQLStore.calls` gives them.

    Raises:
        CannotRebuild: If no call has a verdict, or texts were trimmed or cannot be found.
    """
    bodies: dict[int, str] = {}
    system = context = ""
    for call in calls:
        verdict = call["verdict"]
        if verdict is None:
            continue
        system, asked = (message["content"] for message in call["messages"][:2])
        if _TRIMMED in asked:
            raise CannotRebuild("trimmed to fit the judge's context")
        if DATAMARK in system:
            asked = asked.replace(DATAMARK, "")
        fenced = {match[2]: match[3] for match in _FENCED.finditer(asked)}
        if not fenced.keys() >= set(verdict["ids"]):  # there may be a planted one, too
            raise CannotRebuild(_UNREADABLE)
        for shown_id, index in zip(verdict["ids"], verdict["order"], strict=True):
            bodies[index] = fenced[shown_id]
        head = asked[: asked.index("\n<trajectory-")].rstrip("\n")
        context, _, _ = head.rpartition("\n\n")  # behind it, our one line about the fences
    if not bodies:
        raise CannotRebuild("no verdict of an LLM is stored")
    if sorted(bodies) != list(range(len(bodies))):
        raise CannotRebuild("not all trajectories were shown")
    return Shown(system, context, [bodies[index] for index in range(len(bodies))])


def rebuild(seen: Shown, known_rubrics: Sequence[str | None]) -> RankRequest:
    """A request that shows any judge the same context and bodies, its trajectories `t0`, `t1`, ...

    Args:
        seen: what was shown.
        known_rubrics: judges' own; another one came with the request, and is kept.

    Raises:
        CannotRebuild: If what is read back would not be shown the same way.
    """
    context = _CONTEXT.fullmatch(seen.context)
    if context is None:
        raise CannotRebuild(_UNREADABLE)
    try:
        request = RankRequest.model_validate(
            {
                "task": context["task"],
                "reference": context["reference"],
                "tools": _tools(context["tools"]),
                "rubric": _rubric(seen.system, known_rubrics),
                "trajectories": [
                    {"id": f"t{index}", **_trajectory([context["shared"] or "", body])}
                    for index, body in enumerate(seen.bodies)
                ],
            }
        )
    except (ValueError, KeyError) as error:
        raise CannotRebuild(_UNREADABLE) from error
    again = transcribe(request, range(len(seen.bodies)))
    if (again.context, again.bodies) != (seen.context, seen.bodies):
        raise CannotRebuild(_UNREADABLE)
    return request


def _rubric(system: str, known: Sequence[str | None]) -> str | None:
    """The rubric inside the instructions, if it is none of the judges' own."""
    match = _RUBRIC.search(system)
    own = {(rubric or DEFAULT_RUBRIC).strip() for rubric in known}
    return match[1] if match and match[1] not in own else None


def _tools(lines: str | None) -> list[dict[str, Any]] | None:
    return [orjson.loads(line) for line in lines.split("\n")] if lines else None


def _trajectory(texts: Sequence[str]) -> dict[str, Any]:
    """One trajectory's blocks -> its messages, tools and finish reason."""
    messages: list[dict[str, Any]] = []
    found: dict[str, Any] = {"messages": messages}
    ids: dict[str, str] = {}  # of the latest call by what its result's tag says
    for match in _BLOCK.finditer("\n".join(filter(None, texts))):
        if match["role"]:
            messages.append(_message(match["role"], match["inner"], ids))
        elif match["call"]:
            content = match["result"]
            messages.append(
                {"role": "tool", "content": content, "tool_call_id": ids[_named(match["call"])]}
            )
        elif match["tools"]:
            found["tools"] = _tools(match["tools"])
        else:
            said = match["finish"]
            found["finish_reason"] = "length" if said.startswith(_CUT_OFF) else said
    return found


def _message(role: str, inner: str, ids: dict[str, str]) -> dict[str, Any]:
    """A message; the ids of its tool calls are ours, and are entered in `ids`."""
    text, separator, _ = inner.partition("<tool_call")
    if not separator:
        return {"role": role, "content": inner}
    calls: list[dict[str, Any]] = []
    for match in _CALL.finditer(inner):
        name, _, arguments = match["said"].removesuffix(")").partition("(")
        call_id = f"call-{len(ids)}-{len(calls)}-{match.start()}"
        ids[f"{_LINE_ENDS.sub(' ', name)[:_MAX_NAME]}{match['number'] or ''}"] = call_id
        calls.append({"id": call_id, "function": {"name": name, "arguments": arguments}})
    return {"role": role, "content": text.removesuffix("\n"), "tool_calls": calls}


def _named(attributes: str) -> str:
    name, _, number = attributes.removeprefix('name="').partition('"')
    return f"{unescape(name)}{number}"
