"""The wire form of groups, built from the parts that sources have."""

import json
from typing import Any

from podium_service.http.requests.body import validate
from podium_service.schemas import RankRequest

Message = dict[str, Any]
Group = dict[str, Any]


def make_group(group_id: str, task: str | None, trajectories: list[dict[str, Any]]) -> Group:
    """Return a group that the service takes; InvalidRequest says what is wrong with another."""
    group: Group = {"group_id": group_id, "task": task, "trajectories": trajectories}
    validate(RankRequest, group)
    return group


def make_call(call_id: str, name: str, **arguments: object) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": call_id, "type": "function", "function": function}


def make_turn(content: str | None, call: dict[str, Any], result: str) -> list[Message]:
    """Return an assistant turn that calls one tool, and the tool's answer."""
    name = call["function"]["name"]
    return [
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "name": name, "content": result},
    ]
