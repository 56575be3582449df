"""The models of requests whose groups come one member at a time, and the settings of the bridge.

Their descriptions are published in the OpenAPI document.
"""

from typing import Annotated

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator

from podium_service.schemas.request import (
    DEFAULT_DEADLINE_S,
    MAX_DEADLINE_S,
    MAX_TRAJECTORIES,
    Deadline,
    GroupFields,
    Id,
    Strict,
    Trajectory,
)

DEFAULT_PATIENCE_S = 600.0


class GatherSettings(Strict):
    """The rules by which members that come one by one become a group."""

    group_size: Annotated[int, Field(ge=1, le=MAX_TRAJECTORIES)] = Field(
        description="number of members; all of them must say the same"
    )
    min_members: Annotated[int, Field(ge=1, le=MAX_TRAJECTORIES)] | None = Field(
        default=None,
        description="the least that are ranked when the patience ends; null: only a whole group is",
    )
    patience_s: Annotated[FiniteFloat, Field(gt=0, le=MAX_DEADLINE_S)] = Field(
        default=DEFAULT_PATIENCE_S, description="seconds from the first member until the last one"
    )

    @field_validator("min_members")
    @classmethod
    def _check_min_members(cls, value: int | None, info: ValidationInfo) -> int | None:
        size = info.data.get("group_size")
        if value is not None and size is not None and value > size:
            raise ValueError(f"at most the group's size, {size}, not {value}")
        return value


class JoinRequest(GatherSettings, GroupFields):
    """One member of a group whose members come one by one, from any number of processes."""

    group_id: Id = Field(description="what the members share; no two groups may have the same")
    trajectory: Trajectory = Field(
        description="the member; its id is unique in the group, and the same in a retry"
    )
    anchor: Trajectory | None = Field(
        default=None,
        description="a fixed opponent that is ranked among the members; all of them send the same",
    )

    @field_validator("anchor")
    @classmethod
    def _check_anchor(cls, value: Trajectory | None, info: ValidationInfo) -> Trajectory | None:
        member = info.data.get("trajectory")
        if value is not None and info.data.get("group_size") == MAX_TRAJECTORIES:
            raise ValueError(
                f"a group has {MAX_TRAJECTORIES} trajectories at most, with its anchor"
            )
        if value is not None and member is not None and value.id == member.id:
            raise ValueError("has the id of a member: give it another one")
        return value


class JudgeSettings(Strict):
    """The settings in the query of a URL for groups that come whole."""

    judge: Id | None = Field(default=None, description="name of a judge; none: the default one")
    deadline_s: Deadline = Field(
        default=DEFAULT_DEADLINE_S, description="seconds to rank the group once it is whole"
    )
    anchor: Id | None = Field(
        default=None,
        description="the field of the body with the answer of a fixed opponent, which is ranked "
        "among the members; or `first completion`, for the first one of each prompt",
    )


class URLSettings(GatherSettings, JudgeSettings):
    """The settings in the query of a trainer's reward URL, because it has nowhere else to say."""
