"""The groups of trajectories that a client sends. Read this file first, then `answers`.

`TrajectoryGroup.to_json` makes the body of `POST /rank`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import BaseModel

from podium.errors import RequestRefused


@dataclass(frozen=True)
class Trajectory:
    """One attempt at a prompt.

    Attributes:
        id: a name that is unique in its group; rewards are matched by it.
        messages: OpenAI chat messages, the prompt first; extra keys are allowed. The openai
            client's message objects are taken, too.
        tools: OpenAI tool definitions, if they differ from the group's.
        finish_reason: the sampler's word for the end, such as "stop" or "length".
        verified_reward: a reward in [0, 1] that the caller checked itself. No judge sees it. The
            service mixes it into the reward with the weight of the judge's `verified_weight`,
            which is 0 by default.
    """

    id: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None
    finish_reason: str | None = None
    verified_reward: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of the wire, without the fields that are None."""
        return _fields_set(self)


@dataclass(frozen=True)
class TrajectoryGroup:
    """The G trajectories of one prompt; rewards come back in their order.

    Attributes:
        trajectories: G trajectories with distinct ids, 1 <= G <= 64; one alone is not judged.
        group_id: the caller's name for the group, which the service echoes.
        judge: the name of a judge in the service's judges file; None for its default judge.
        task: the task that the trajectories were given, shown to the judge.
        reference: a known good answer, shown to the judge.
        rubric: criteria that replace the judge's own rubric.
        tools: OpenAI tool definitions that all trajectories had.
        metadata: values that the service keeps with the ranking and shows to no judge.
    """

    trajectories: Sequence[Trajectory]
    group_id: str | None = None
    judge: str | None = None
    task: str | None = None
    reference: str | None = None
    rubric: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for each in self.trajectories if isinstance(self.trajectories, list | tuple) else ():
            if not isinstance(each, Trajectory):
                raise TypeError(
                    f"a group holds Trajectory objects, not {type(each).__name__}: give "
                    "Trajectory(id, messages), or read what you have by podium.formats"
                )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of the wire, without the fields that are None."""
        return _fields_set(self) | {"trajectories": [t.to_wire() for t in self.trajectories]}

    def to_json(self) -> bytes:
        """Return the body of `POST /rank`; the same group gives the same bytes.

        Raises:
            RequestRefused: If the group holds a value that JSON cannot carry, such as a NaN, a lone
                surrogate or an object of another type.
        """
        try:
            text = json.dumps(
                self.to_wire(),
                ensure_ascii=False,
                allow_nan=False,
                separators=(",", ":"),
                default=_to_plain,
            )
            return text.encode()
        except (TypeError, ValueError, RecursionError) as exc:
            detail = f"group {self.group_id!r} is not JSON: {type(exc).__name__}: {exc}"
            raise RequestRefused("not_json", None, False, None, detail) from exc


def _fields_set(record: Trajectory | TrajectoryGroup) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value for name, value in values.items() if value is not None}


def list_groups(groups: Iterable[TrajectoryGroup]) -> list[TrajectoryGroup]:
    """Return the groups as a list.

    Raises:
        TypeError: If it is one group alone, or something in it is no group.
    """
    if isinstance(groups, TrajectoryGroup):
        raise TypeError("many groups are wanted, and this is one: give [group], or call rank")
    listed = list(groups)
    for each in listed:
        require_group(each)
    return listed


def require_group(group: object) -> None:
    """Raise a TypeError that says what a group is, if this is none."""
    if not isinstance(group, TrajectoryGroup):
        raise TypeError(
            f"a group is a TrajectoryGroup, not {type(group).__name__}: give "
            "TrajectoryGroup([Trajectory(id, messages), ...]), or read files by podium.formats"
        )


def _to_plain(value: object) -> object:
    """Return what `json` can write for a value of another library, or raise a TypeError.

    That is a message of the openai client (or any pydantic model), a number or an array of numpy or
    torch, and any other mapping.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return dict(value)
    if callable(to_list := getattr(value, "tolist", None)):
        return to_list()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
