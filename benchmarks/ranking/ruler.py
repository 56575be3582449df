"""The baseline: RULER's procedure, one listwise call in the request's order, scores as they come.

As OpenPipe's `ruler_score_group` does it: trajectories numbered from 1 in fences that any of them
can close, nothing escaped, no retry, no order but the one given. The reply's form is the one that
the simulated judges speak, a JSON object by id. `benchmarks/ruler_peer.py` runs the original.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.content import Labelled
from benchmarks.ranking.arms import Outcome, all_of

SYSTEM = """\
All of the trajectories below have been given the same goal. Your job is to consider each of them \
and give them a score between 0 and 1. Take into consideration your best judgement of the agent's \
goal.

Grading standards:
- A trajectory that achieves its goal should always get a significantly higher score than one that \
does not.
- A trajectory that achieves its goal more efficiently should get a higher score.
- If one trajectory is only slightly better than another, the difference in scores should be small.
- You may give some partial credit for a trajectory that makes progress towards its goal but does \
not complete it."""
LAST = "Judge them all."
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Ruled:
    """Scores by trajectory, in the request's order, and what they cost."""

    scores: list[float]
    tokens: int


async def rule(url: str, groups: Sequence[Mapping[str, Any]]) -> list[Ruled | None]:
    """Ask once a group; return None where the reply is no verdict, as the procedure drops it then.

    Raises:
        httpx.HTTPError: If the judge does not answer.
    """
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:

        async def one(group: Mapping[str, Any]) -> Ruled | None:
            response = await client.post(f"{url}/chat/completions", json=_request(group))
            said = response.raise_for_status().json()
            numbers = range(1, len(group["trajectories"]) + 1)
            try:
                verdict = json.loads(said["choices"][0]["message"]["content"])
                scores = [float(verdict[str(number)]["score"]) for number in numbers]
            except (ValueError, KeyError):
                return None
            return Ruled(scores, int(said["usage"]["total_tokens"]))

        return await all_of(one, groups, in_flight=32)


async def rule_labelled(url: str, groups: Sequence[Labelled]) -> list[Outcome]:
    """Return the groups that got a verdict, as if the service had ranked them."""
    found = await rule(url, [each.group for each in groups])
    return [_outcome(group, each) for group, each in zip(groups, found, strict=True) if each]


def _outcome(group: Labelled, ruled: Ruled) -> Outcome:
    scores = ruled.scores
    return Outcome(
        group=group, means=scores, scores=scores, rewards=scores, stderr=None, wins=[],
        calls=1, tokens=ruled.tokens, passes=1, method="RULER", verdicts=[], bodies=[],
    )  # fmt: skip


def _request(group: Mapping[str, Any]) -> dict[str, Any]:
    shown = [
        f'<trajectory id="{number}">\n{_text(trajectory["messages"])}\n</trajectory>'
        for number, trajectory in enumerate(group["trajectories"], start=1)
    ]
    text = "\n".join(["Trajectories:", "", *shown, "", LAST])
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return {"model": "simulated", "messages": messages}


def _text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return messages as a reader sees them; the shared first one is left out, as RULER does."""
    lines = []
    for message in messages[1:]:
        lines.append(f"{message['role']}: {message.get('content') or ''}")
        for call in message.get("tool_calls") or ():
            function = call["function"]
            lines.append(f"call {function['name']} {function['arguments']}")
    return "\n".join(lines)
