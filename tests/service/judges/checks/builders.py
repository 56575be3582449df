"""Build criteria as the judges file gives them, and trajectories to apply them to."""

from typing import Any

from pydantic import TypeAdapter

from podium_service.judges.checks.base import Criterion
from podium_service.judges.checks.criteria import AnyCriterion
from podium_service.schemas import Trajectory

_CRITERION: TypeAdapter[Any] = TypeAdapter(AnyCriterion)


def criterion(name: str, /, **fields: Any) -> Criterion:
    """Build the criterion `name` with these settings."""
    built = _CRITERION.validate_python({"check": name, **fields})
    assert isinstance(built, Criterion)
    return built


def trajectory(*messages: dict[str, Any]) -> Trajectory:
    return Trajectory.model_validate({"id": "t", "messages": messages})


def answers(text: str) -> Trajectory:
    """Build a trajectory whose only turn is this answer."""
    return trajectory({"role": "user", "content": "q"}, {"role": "assistant", "content": text})


def used_tool(name: str, result: str) -> Trajectory:
    """Build a trajectory with one tool call, its result, and an answer."""
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return trajectory(
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": result},
        {"role": "assistant", "content": "done"},
    )
