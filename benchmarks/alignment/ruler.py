"""RULER's procedure: groups -> scores, by one listwise call in the group's order, as they come.

As OpenPipe's `ruler_score_group` does it: the messages that all trajectories begin with are shown
once as JSON, each trajectory's others as JSON in a fence with its number; scores are matched by
position, a wrong count drops the group, nothing is retried. A group of identical trajectories
costs one call about one of them. Its rubric is a few lines shorter here than there, which saves
tokens. A reference, which RULER has no place for, goes where its users put one: into the context.
An endpoint that takes no JSON schema is told the form of the reply in words.

`benchmarks/ranking/ruler.py` shows texts as they are instead, for attacks that close fences.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.ranking.ruler import SYSTEM

TIMEOUT_S = 3600.0
LIMITS = httpx.Limits(keepalive_expiry=4)  # uvicorn closes idle connections after 5 s
IN_FLIGHT = 8
_SCORE = {
    "type": "object",
    "properties": {
        "trajectory_id": {"type": "string", "description": "The id of the trajectory."},
        "explanation": {"type": "string", "description": "Its performance in a few words."},
        "score": {"type": "number", "description": "A score between 0 and 1."},
    },
    "required": ["trajectory_id", "explanation", "score"],
    "additionalProperties": False,
}
FORM = """
Reply with one JSON object and nothing else, of this form, with an entry for each trajectory:
{"scores": [{"trajectory_id": "1", "explanation": "<a few words>", "score": <from 0 to 1>}, ...]}"""
SCHEMA = {
    "type": "object",
    "properties": {"scores": {"type": "array", "items": _SCORE}},
    "required": ["scores"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Ruled:
    """One group after one call.

    Attributes:
        scores: in the group's order; empty if the reply holds no score for each trajectory.
        tokens: prompt and completion.
        completion_tokens: those of the reply.
    """

    scores: list[float]
    tokens: int
    completion_tokens: int = 0


@dataclass
class Ruler:
    """Asks one judge, and keeps what was paid for.

    Attributes:
        url: the endpoint, up to and including `/v1`.
        model: its name there.
        extra: further members of each request.
        file: JSON lines of earlier calls, which are not made again; None keeps nothing.
    """

    url: str
    model: str = "simulated"
    extra: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    _takes_schema: bool = True

    async def rule(self, groups: Sequence[Mapping[str, Any]], repeat: int) -> list[Ruled]:
        """Ask once a group; `repeat` numbers calls about the same group.

        Raises:
            httpx.HTTPError: If the judge does not answer.
        """
        kept = self.kept()
        places = asyncio.Semaphore(IN_FLIGHT)

        async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=LIMITS) as client:

            async def one(group: Mapping[str, Any]) -> Ruled:
                key = f"{group['group_id']} {repeat}"
                if key in kept:
                    return kept[key]
                async with places:
                    ruled = await self._ask(client, group)
                if self.file:
                    with self.file.open("a") as lines:
                        lines.write(json.dumps({"key": key} | asdict(ruled)) + "\n")
                return ruled

            return list(await asyncio.gather(*map(one, groups)))

    def kept(self) -> dict[str, Ruled]:
        """Return what was paid for, by the group's id and the number of the call."""
        if self.file is None or not self.file.exists():
            return {}
        lines = map(json.loads, self.file.read_text().splitlines())
        return {line.pop("key"): Ruled(**line) for line in lines}

    async def _ask(self, client: httpx.AsyncClient, group: Mapping[str, Any]) -> Ruled:
        response = await self._post(client, group)
        if response.status_code == HTTPStatus.BAD_REQUEST and "response_format" in response.text:
            self._takes_schema = False
            response = await self._post(client, group)
        said = response.raise_for_status().json()
        content = said["choices"][0]["message"]["content"] or ""
        scores = read_scores(content, len(group["trajectories"]), is_single=is_single(group))
        usage = said["usage"]
        return Ruled(scores, int(usage["total_tokens"]), int(usage["completion_tokens"]))

    async def _post(self, client: httpx.AsyncClient, group: Mapping[str, Any]) -> httpx.Response:
        asked = request(group, has_schema=self._takes_schema)
        body = {"model": self.model, **asked, **self.extra}
        return await client.post(f"{self.url}/chat/completions", json=body)


def request(group: Mapping[str, Any], *, has_schema: bool = True) -> dict[str, Any]:
    """Return the chat request about a group, without the model."""
    members = [trajectory["messages"] for trajectory in group["trajectories"]]
    if is_single(group):
        context, members = [], members[:1]
    else:
        shared = list(takewhile(_all_equal, zip(*members, strict=False)))
        context = [turns[0] for turns in shared]
        members = [messages[len(shared) :] for messages in members]
    if group.get("reference"):
        known = f"Reference answer, which the agent did not see: {group['reference']}"
        context = [{"role": "system", "content": known}, *context]
    parts = [f"<context>\n{json.dumps(context)}\n</context>"] if context else []
    parts += ["Trajectories:"]
    parts += [
        f'<trajectory id="{number}">\n{json.dumps(messages)}\n</trajectory>'
        for number, messages in enumerate(members, start=1)
    ]
    system = SYSTEM if has_schema else f"{SYSTEM}\n{FORM}"
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": "\n\n".join(parts)},
    ]
    if not has_schema:
        return {"messages": messages}
    schema = {"name": "Response", "schema": SCHEMA, "strict": True}
    return {
        "messages": messages,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def is_single(group: Mapping[str, Any]) -> bool:
    """Return whether all trajectories are the same."""
    return _all_equal([trajectory["messages"] for trajectory in group["trajectories"]])


def without_repeats(group: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Return the group with equal trajectories once, and the place there of each trajectory."""
    distinct: dict[str, int] = {}
    first = []
    places = []
    for trajectory in group["trajectories"]:
        key = json.dumps(trajectory["messages"])
        if key not in distinct:
            distinct[key] = len(distinct)
            first.append(trajectory)
        places.append(distinct[key])
    return {**group, "trajectories": first}, places


def read_scores(content: str, size: int, *, is_single: bool) -> list[float]:
    """Read scores by position; return none where their number is wrong.

    One score of a group of identical trajectories holds for all. Words around the JSON are left
    out, kinder than RULER is.

    `{"scores": [{"score": ...}, ...]}`, or an object by trajectory, as simulated judges write it.
    """
    try:
        verdict = json.loads(content[content.find("{") : content.rfind("}") + 1])
        entries = verdict["scores"] if "scores" in verdict else list(verdict.values())
        scores = [float(entry["score"]) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []
    if is_single and len(scores) == 1:
        return scores * size
    return scores if len(scores) == size else []


def mean_scores(repeats: Sequence[Ruled]) -> list[float]:
    """Return the mean of several calls about one group; those without a verdict are left out."""
    told = [each.scores for each in repeats if each.scores]
    return [sum(each) / len(told) for each in zip(*told, strict=True)] if told else []


def _all_equal(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)
