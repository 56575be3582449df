"""Rebuild the groups of the store as requests, so that another judge can rank them.

The store keeps only the ids of a request; its texts are in the prompts. They can be read back,
because no trajectory can forge a tag of ours. A rebuilt request is accepted only if `transcribe`
makes the same context and bodies of it, byte for byte. So any judge is shown what the first judge
was shown, and the first judge's own verdicts are found in the store again. Gated trajectories were
not shown and are missing; equal trajectories appear once.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic_core import from_json

from podium_service.errors import InvalidRequest
from podium_service.evaluation.stored.shown_prompt import (
    ShownPrompt,
    read_plain_context,
    read_prompt,
)
from podium_service.http.service import Service
from podium_service.prompts.defences.escape import DATAMARK
from podium_service.prompts.message_parts.images import Content, parse_content, read_content
from podium_service.prompts.message_parts.tool_calls import UNKNOWN
from podium_service.prompts.plain import show_plainly, split_ending
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.wording import DEFAULT_RUBRIC
from podium_service.schemas import RankRequest
from podium_service.store.database.tables import RANKINGS
from podium_service.store.store import SQLStore

_SCAN = 20  # rankings read per group wanted, because several may be of one group
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
_CALL = re.compile(r'<tool_call(?P<number> number="\d+")?>(?P<text>.*?)</tool_call>', re.DOTALL)
_THOUGHTS = re.compile(r"<thoughts>\n(.*?)\n</thoughts>\n?", re.DOTALL)
_CUT_OFF = "length ("
_RUBRIC = re.compile(r"(?:\n|\A)Rubric:\n(.*?)(?:\n\nRules:\n|\Z)", re.DOTALL)
_LINE_ENDS = re.compile(r"[\n\x85\u2028\u2029]")
_MAX_NAME = 128
_UNREADABLE = "shown in a form that cannot be read back"


class CannotRebuild(ValueError):
    """The reason why a stored group cannot be shown to another judge."""


@dataclass(frozen=True, slots=True)
class JudgeMaterial:
    """What a judge was shown of one group: instructions, context, bodies and images by number."""

    system: str
    context: str
    bodies: list[str]
    is_plain: bool = False  # whether they are in the plain layout (see `prompts.plain`)
    images: Mapping[int, str] = field(default_factory=dict)  # the URL of each image by its number


async def read_stored_groups(
    service: Service, limit: int
) -> tuple[list[RankRequest], dict[str, int]]:
    """Return the newest `limit` groups of the store, and how many were left out by reason.

    Raises:
        InvalidRequest: If no stored group can be rebuilt.
        StoreUnavailable: If the database does not answer.
    """
    llms = service.ranker.judges.roster.llms.values()
    rubrics = [None, *(judge.config.rubric for judge in llms)]
    requests: dict[str, RankRequest] = {}  # the keys are the contents without the group's id
    left_out: Counter[str] = Counter()
    for key, group_id in await _read_newest(service.store, _SCAN * limit):
        if len(requests) == limit:
            break
        try:
            calls = await service.store.read_calls(key)
            request = rebuild_request(recover_material(calls), rubrics)
        except CannotRebuild as error:
            left_out[str(error)] += 1
            continue
        request.group_id = group_id
        requests.setdefault(request.model_dump_json(exclude={"group_id"}), request)
    if not requests:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InvalidRequest(
            f"no stored group can be ranked again{f' ({reasons})' if reasons else ''}: "
            "give groups by --data FILE"
        )
    return list(requests.values()), dict(left_out)


def recover_material(calls: Sequence[dict[str, Any]]) -> JudgeMaterial:
    """Join the texts that the calls of one content key, as the store returns them, showed.

    Raises:
        CannotRebuild: If no call has a verdict, or texts were trimmed or cannot be found.
    """
    bodies: dict[int, str] = {}
    images: dict[int, str] = {}
    system, shown = "", ShownPrompt("", {})
    for call in calls:
        verdict = call["verdict"]
        if verdict is None or not call["messages"]:  # or the verdict comes from another group
            continue
        system, content = _first_messages(call["messages"])
        prompt, urls = read_content(content)
        images |= urls
        if _TRIMMED in prompt:
            raise CannotRebuild("trimmed to fit the judge's context")
        if DATAMARK in system:
            prompt = prompt.replace(DATAMARK, "")
        shown = read_prompt(prompt) or ShownPrompt("", {})
        ids = [""] if [*shown.bodies] == [""] else verdict["ids"]
        if not shown.bodies.keys() >= set(ids):  # a planted trajectory may be there, too
            raise CannotRebuild(_UNREADABLE)
        for shown_id, index in zip(ids, verdict["order"], strict=True):
            bodies[index] = shown.bodies[shown_id]
    if not bodies:
        raise CannotRebuild("no verdict of an LLM is stored")
    if sorted(bodies) != list(range(len(bodies))):
        raise CannotRebuild("not all trajectories were shown")
    ordered = [bodies[index] for index in range(len(bodies))]
    return JudgeMaterial(system, shown.context, ordered, shown.is_plain, images)


def _first_messages(messages: Sequence[dict[str, Any]]) -> tuple[str, Content]:
    """Return the system prompt, empty where there is none, and the prompt that shows the group."""
    contents = [message["content"] for message in messages[:2]]
    return ("", contents[0]) if messages[0]["role"] == "user" else (contents[0], contents[1])


def rebuild_request(material: JudgeMaterial, known_rubrics: Sequence[str | None]) -> RankRequest:
    """Return a request that shows the same context and bodies, as trajectories `t0`, `t1`, ...

    A rubric that is none of `known_rubrics`, those of judges (None: the default), came with the
    request and is kept.

    Raises:
        CannotRebuild: If the request would not be shown the same way.
    """
    try:
        fields = _plain_fields(material) if material.is_plain else _fenced_fields(material)
        rubric = _find_rubric(material.system, known_rubrics)
        request = RankRequest.model_validate(fields | {"rubric": rubric})
    except (ValueError, KeyError) as error:
        raise CannotRebuild(_UNREADABLE) from error
    # A rebuilt request holds thoughts only if they were shown.
    transcript = transcribe(
        request,
        range(len(material.bodies)),
        show_reasoning=True,
        image_tokens=int(bool(material.images)),
    )
    if material.is_plain:
        transcript = show_plainly(transcript, request)
    if (transcript.context, transcript.bodies) != (material.context, material.bodies):
        raise CannotRebuild(_UNREADABLE)
    return request


def _fenced_fields(material: JudgeMaterial) -> dict[str, Any]:
    """Return the members of a request that was shown in fences."""
    context = _CONTEXT.fullmatch(material.context)
    if context is None:
        raise ValueError(_UNREADABLE)
    texts = [[context["shared"] or "", body] for body in material.bodies]
    return {
        "task": context["task"],
        "reference": context["reference"],
        "tools": _parse_tools(context["tools"]),
        "trajectories": [
            {"id": f"t{index}", **_parse_trajectory(text, material.images)}
            for index, text in enumerate(texts)
        ],
    }


def _plain_fields(material: JudgeMaterial) -> dict[str, Any]:
    """Return the members of a request that was shown under plain headings."""
    sections = read_plain_context(material.context)
    asked = sections.get("Question") or sections.get("Task")
    shared = [("system", sections.get("Instructions")), ("user", asked)]
    prompt = [{"role": role, "content": text} for role, text in shared if text]
    trajectories = []
    for index, body in enumerate(material.bodies):
        text, finish_reason = split_ending(body)
        messages = [*prompt, {"role": "assistant", "content": text}]
        trajectories.append(
            {"id": f"t{index}", "messages": messages, "finish_reason": finish_reason}
        )
    return {
        "task": sections.get("Task") if "Question" in sections else None,
        "reference": sections.get("Reference answer"),
        "trajectories": trajectories,
    }


async def _read_newest(store: SQLStore, limit: int) -> list[tuple[str, str | None]]:
    """Return the content key and the group id of the latest rankings, each key once."""
    newest = sa.select(RANKINGS.c.key, RANKINGS.c.request).order_by(RANKINGS.c.created_at.desc())
    ids = {}
    for row in reversed(await store.select(newest.limit(limit))):
        request = orjson.loads(row.request)
        # A jury has one key per juror, and each of them shows the whole group.
        ids[request.get("call_keys", [row.key])[0]] = request.get("group_id")
    return list(reversed(ids.items()))


def _find_rubric(system: str, known: Sequence[str | None]) -> str | None:
    match = _RUBRIC.search(system)
    own = {(rubric or DEFAULT_RUBRIC).strip() for rubric in known}
    return match[1] if match and match[1] not in own else None


def _parse_tools(lines: str | None) -> list[dict[str, Any]] | None:
    return [from_json(line) for line in lines.split("\n")] if lines else None


def _parse_trajectory(texts: Sequence[str], images: Mapping[int, str]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    trajectory: dict[str, Any] = {"messages": messages}
    ids: dict[str, str] = {}  # the id of the latest call by its name and number in a result's tag
    for match in _BLOCK.finditer("\n".join(filter(None, texts))):
        if match["role"]:
            messages.append(_parse_message(match["role"], match["inner"], ids, images))
        elif match["call"]:
            name, _, number = match["call"].removeprefix('name="').partition('"')
            tool = unescape(name)
            # A result of no call gets an id of no call, so that it answers none here, either.
            call_id = ids.get(f"{tool}{number}", f"orphan-{len(messages)}")
            content = parse_content(match["result"], images)
            result = {"role": "tool", "content": content, "tool_call_id": call_id}
            messages.append(result | ({} if tool == UNKNOWN else {"name": tool}))
        elif match["tools"]:
            trajectory["tools"] = _parse_tools(match["tools"])
        else:
            reason = match["finish"]
            trajectory["finish_reason"] = "length" if reason.startswith(_CUT_OFF) else reason
    return trajectory


def _parse_message(
    role: str, inner: str, ids: dict[str, str], images: Mapping[int, str]
) -> dict[str, Any]:
    """Return a message; enter new ids of its tool calls in `ids`."""
    message: dict[str, Any] = {"role": role}
    if thoughts := _THOUGHTS.match(inner):
        message["reasoning_content"] = thoughts[1]
        inner = inner[thoughts.end() :]
    text, separator, _ = inner.partition("<tool_call")
    if not separator:
        return message | {"content": parse_content(inner, images)}
    calls: list[dict[str, Any]] = []
    for match in _CALL.finditer(inner):
        name, _, arguments = match["text"].removesuffix(")").partition("(")
        call_id = f"call-{len(ids)}-{len(calls)}-{match.start()}"
        ids[f"{_LINE_ENDS.sub(' ', name)[:_MAX_NAME]}{match['number'] or ''}"] = call_id
        calls.append({"id": call_id, "function": {"name": name, "arguments": arguments}})
    content = parse_content(text.removesuffix("\n"), images)
    return message | {"content": content, "tool_calls": calls}
