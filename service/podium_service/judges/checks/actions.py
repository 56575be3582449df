"""Criteria that look at the agent's turns and tools."""

from typing import Annotated, Literal

import orjson
import regex
from pydantic import Field

from podium_service.judges.base_settings import QUALITY, Count
from podium_service.judges.checks.base import NAME, Criterion
from podium_service.schemas import Trajectory

_TOOL_ERROR = regex.compile(r"\s*(?:error\b|traceback \(most recent call last\))", regex.IGNORECASE)


class MaxTurns(Criterion):
    """The agent took at most `turns` turns (assistant messages)."""

    check: Annotated[Literal["max_turns"], NAME]
    turns: Annotated[Count, QUALITY]
    """Most assistant messages of the trajectory."""

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        return sum(message.role == "assistant" for message in trajectory.messages) <= self.turns


class CallsTool(Criterion):
    """The agent called the tool `name` at least once."""

    check: Annotated[Literal["calls_tool"], NAME]
    name: Annotated[str, Field(min_length=1), QUALITY]
    """Name of the tool that must be called."""

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        calls = (call for message in trajectory.messages for call in message.calls)
        return any(call.called.name == self.name for call in calls)


class NoToolErrors(Criterion):
    """No tool result reports an error.

    A result does if it starts with "error" or a traceback, or is a JSON object with a truthy
    `error`.
    """

    check: Annotated[Literal["no_tool_errors"], NAME]

    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        results = (message.text for message in trajectory.messages if message.role == "tool")
        return not any(map(_is_error, results))


def _is_error(text: str) -> bool:
    if _TOOL_ERROR.match(text):
        return True
    if not text.lstrip().startswith("{"):
        return False
    try:
        result = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(result, dict) and bool(result.get("error"))
