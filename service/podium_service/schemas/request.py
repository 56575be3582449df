"""The models of requests: groups of trajectories, alone or in a batch.

Their descriptions are published in the OpenAPI document.
"""

from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from podium_service.schemas.messages import FirstFault, Message, read_messages
from podium_service.schemas.other_forms import holds_other_form, read_other_form
from podium_service.schemas.parts import Text

MAX_ID_CHARS = 256
MAX_TRAJECTORIES = 64
MAX_BATCH_GROUPS = 4096
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_BATCH_BODY_BYTES = 64 * 1024 * 1024
DEFAULT_DEADLINE_S = 120.0
MAX_DEADLINE_S = 3600.0

Id = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_CHARS, coerce_numbers_to_str=True)
]  # a number is read as its text, because many data sets number their rows
Deadline = Annotated[
    FiniteFloat, Field(gt=0, le=MAX_DEADLINE_S, description="seconds for the whole group")
]
Tool = dict[str, Any]
Tools = Annotated[
    FirstFault[Tool] | None, Field(description="OpenAI tools that the policy could call")
]


class Strict(BaseModel):
    """A model that refuses unknown fields. It names only the first one, to save memory."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_field(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = cls.model_fields.keys()
            if not value.keys() <= known:
                unknown = next(name for name in value if name not in known)
                near = get_close_matches(str(unknown)[:64], known, n=1, cutoff=0.7)
                meant = (
                    f"the nearest one is {near[0]}" if near else "extra fields are not permitted"
                )
                rule = "no such field: {meant}"
                raise PydanticCustomError(
                    "unknown_field", rule, {"loc": (unknown,), "meant": meant}
                )
        return value


class Trajectory(Strict):
    """One attempt at the task: prompt, completions and tool results as chat messages."""

    id: Id = Field(description="unique in the group; never shown to a judge")
    messages: FirstFault[Message] = Field(
        description="prompt and completions; without any, the attempt is empty"
    )
    tools: Tools = None
    finish_reason: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="why the last completion ended, as the sampler says it"
    )
    verified_reward: FiniteFloat | None = Field(
        default=None,
        ge=0,
        le=1,
        description="a reward that the caller computed itself, in [0, 1]; never shown to a judge; "
        "the judge's `verified_weight` mixes it into the reward",
    )

    @field_validator("messages")
    @classmethod
    def _read_messages(cls, messages: list[Message]) -> list[Message]:
        if fault := read_messages(messages):
            place, rule = fault
            kind = PydanticCustomError("message", "{rule}", {"rule": rule})
            raise ValidationError.from_exception_data(
                cls.__name__, [{"type": kind, "loc": place, "input": None}]
            )
        return messages

    @field_validator("messages", mode="wrap")
    @classmethod
    def _read_other_forms(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> list[Message]:
        """Read messages in OpenAI's form at once, and others where that fails."""
        if value is None:
            return []
        fault = None
        if not holds_other_form(value):
            try:
                return handler(value)  # type: ignore[no-any-return]  # of pydantic's handler
            except ValidationError as error:
                fault = error
        try:
            return handler(read_other_form(value))  # type: ignore[no-any-return]  # of pydantic's handler
        except ValidationError as error:
            raise fault or error from None  # the first one names the places as they were sent


class GroupFields(Strict):
    """The fields of a group apart from its trajectories."""

    group_id: Id | None = Field(default=None, description="a name, which the response repeats")
    judge: Id | None = Field(default=None, description="name of a judge; null: the default one")
    task: Text | None = Field(default=None, description="the task; shown to the judge")
    reference: Text | None = Field(default=None, description="a good answer; shown to the judge")
    rubric: str | None = Field(default=None, description="replaces the judge's rubric")
    tools: Tools = None
    deadline_s: Deadline = DEFAULT_DEADLINE_S
    metadata: dict[str, Any] | None = Field(
        default=None,
        description="any data; kept with the request, not shown; rankings are listed by its run, "
        "step and prompt_id",
    )


class RankRequest(GroupFields):
    """One group: the trajectories of one prompt."""

    flip_order: bool = Field(
        default=False,
        description="whether each list of trajectories that an LLM judge is shown is reversed; the "
        "verdicts are kept apart from those of the planned order",
    )
    trajectories: Annotated[list[Trajectory], Field(min_length=1, max_length=MAX_TRAJECTORIES)]

    @field_validator("trajectories", mode="before")
    @classmethod
    def _check_number(cls, value: Any) -> Any:
        number = len(value) if isinstance(value, list) else 1
        if number < 1:
            raise ValueError("a group needs a trajectory or more, not 0")
        if number > MAX_TRAJECTORIES:
            raise ValueError(f"a group has at most {MAX_TRAJECTORIES} trajectories, not {number}")
        return value

    @field_validator("trajectories")
    @classmethod
    def _check_ids(cls, trajectories: list[Trajectory]) -> list[Trajectory]:
        first: dict[str, int] = {}
        for index, trajectory in enumerate(trajectories):
            if trajectory.id in first:
                where = first[trajectory.id]
                raise ValueError(f"ids must be unique: {index} has the same id as {where}")
            first[trajectory.id] = index
        return trajectories


class BatchRequest(Strict):
    """Many groups. Each one is validated on its own, so that a bad one fails only its own line."""

    groups: Annotated[list[Any], Field(max_length=MAX_BATCH_GROUPS)] = Field(
        description="groups as in `POST /rank`"
    )
    deadline_s: Deadline | None = Field(
        default=None, description="seconds for each group that has no deadline of its own"
    )
