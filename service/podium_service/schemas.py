"""The models of requests and responses, which define what the service accepts and returns.

Their descriptions are published in the OpenAPI document.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_ID_CHARS = 256
MAX_TRAJECTORIES = 64
MAX_BATCH_GROUPS = 4096
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_BATCH_BODY_BYTES = 64 * 1024 * 1024
DEFAULT_DEADLINE_S = 120.0
MAX_DEADLINE_S = 3600.0

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Deadline = Annotated[
    FiniteFloat, Field(gt=0, le=MAX_DEADLINE_S, description="seconds for the whole group")
]
Tool = dict[str, Any]
Tools = Annotated[list[Tool] | None, Field(description="OpenAI tools that the policy could call")]


class _Strict(BaseModel):
    """A model that refuses unknown fields. It names only the first one, to save memory."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_field(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = cls.model_fields.keys()
            if not value.keys() <= known:
                unknown = next(name for name in value if name not in known)
                rule = "no such field: extra fields are not permitted"
                raise PydanticCustomError("unknown_field", rule, {"loc": (unknown,)})
        return value


class TextPart(BaseModel):
    """A part of a message's content."""

    type: Literal["text"] = Field(description="only text can be judged")
    text: str


class FunctionCall(BaseModel):
    """The function and the arguments of a tool call."""

    name: str
    arguments: str | dict[str, Any] = Field(default="", description="JSON; a text may be invalid")


class ToolCall(BaseModel):
    """A tool call of an assistant message."""

    id: Id
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(BaseModel):
    """An OpenAI chat message. Extra keys are allowed, neither shown to a judge nor hashed."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = Field(
        default=None, description="only an assistant message with tool_calls may lack it"
    )
    tool_calls: list[ToolCall] | None = Field(default=None, description="of assistant messages")
    tool_call_id: str | None = Field(default=None, description="the call that a tool answers")

    @property
    def text(self) -> str:
        """The text of the message, its parts joined; empty if there is none."""
        content = self.content
        if isinstance(content, list):
            return "".join(part.text for part in content)
        return content or ""

    @property
    def broken_rule(self) -> str | None:
        """The rule for messages of this role that the message breaks; None if there is none."""
        if self.tool_calls and self.role != "assistant":
            return "only an assistant message may carry tool_calls"
        if self.role == "tool" and self.tool_call_id is None:
            return "a tool message needs the tool_call_id of the call it answers"
        if self.content is None and not self.tool_calls:
            return "content may be left out only by an assistant message with tool_calls"
        return None


class Trajectory(_Strict):
    """One attempt at the task: prompt, completions and tool results as chat messages."""

    id: Id = Field(description="unique in the group; never shown to a judge")
    messages: Annotated[list[Message], Field(min_length=1, description="prompt and completions")]
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
    def _check_roles(cls, messages: list[Message]) -> list[Message]:
        """Check all messages in one call, because a validator per message would be slow."""
        rules = {i: rule for i, message in enumerate(messages) if (rule := message.broken_rule)}
        if rules:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    {"type": PydanticCustomError("message", rule), "loc": (i,), "input": None}
                    for i, rule in rules.items()
                ],
            )
        return messages

    @field_validator("messages")
    @classmethod
    def _check_tool_messages(cls, messages: list[Message]) -> list[Message]:
        called: set[str] = set()
        for index, message in enumerate(messages):
            if message.role == "tool" and message.tool_call_id not in called:
                raise ValueError(f"messages.{index} is a tool message that answers no earlier call")
            if message.tool_calls:
                called.update(call.id for call in message.tool_calls)
        return messages


class RankRequest(_Strict):
    """One group: the trajectories of one prompt."""

    group_id: Id | None = Field(default=None, description="a name, which the response repeats")
    judge: Id | None = Field(default=None, description="name of a judge; null: the default one")
    task: str | None = Field(default=None, description="the task; shown to the judge")
    reference: str | None = Field(default=None, description="a good answer; shown to the judge")
    rubric: str | None = Field(default=None, description="replaces the judge's rubric")
    tools: Tools = None
    trajectories: Annotated[list[Trajectory], Field(min_length=2, max_length=MAX_TRAJECTORIES)]
    deadline_s: Deadline = DEFAULT_DEADLINE_S
    metadata: dict[str, Any] | None = Field(
        default=None, description="any data; stored with a ranking's first request, not shown"
    )

    @field_validator("trajectories", mode="before")
    @classmethod
    def _check_number(cls, value: Any) -> Any:
        number = len(value) if isinstance(value, list) else 2
        if number < 2:
            raise ValueError(f"a group needs two trajectories or more, not {number}")
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


class BatchRequest(_Strict):
    """Many groups. Each one is validated on its own, so that a bad one fails only its own line."""

    groups: Annotated[list[Any], Field(max_length=MAX_BATCH_GROUPS)] = Field(
        description="groups as in `POST /rank`"
    )
    deadline_s: Deadline | None = Field(
        default=None, description="seconds for each group that has no deadline of its own"
    )


class Usage(BaseModel):
    """The judge calls of this request; all zero if the response came from the store."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = Field(default=0, description="the cached part of prompt_tokens")
    completion_tokens: int = 0
    cost_usd: float | None = Field(default=None, description="null if the judge has no price")


class TrajectoryResult(BaseModel):
    """The result of one trajectory."""

    id: str
    rank: float = Field(description="1 is best; ties share the mean rank")
    reward: float = Field(ge=0, le=1, description="the reward for the trainer, in [0, 1]")
    score: float | None = Field(description="in [0, 1]; null if no judge was asked")
    stderr: float | None = Field(description="standard error of the score; null if not known")
    explanation: str = Field(default="", description="the judge's explanation, in one sentence")
    flags: list[str] = Field(
        default=[], description="gates that failed, and ways in which the text addresses a judge"
    )


class AssumedNoise(BaseModel):
    """The noise that was assumed of the judge; it is needed to compute the ranking again."""

    variance: float = Field(description="variance of one score's noise, on the judge's scale")
    df: float | None = Field(description="degrees of freedom of the variance; null: certain")
    groups: int = Field(description="number of past groups it was learnt from; 0: configured")
    slots: list[float] = Field(description="the judge's bias for each slot of a list; subtracted")
    ratios: list[float] = Field(description="distribution of past groups' shares of signal")


class JurorResult(BaseModel):
    """The part of one juror in the ranking of a jury."""

    judge: str
    model: str
    status: Literal["counted", "rejected", "failed"] = Field(
        description="rejected: it differs from the other jurors by more than its own noise"
    )
    weight: float = Field(description="share in the combined scores; all shares sum to 1")
    agreement: float | None = Field(description="Kendall's tau_b with the other jurors combined")
    reliability: float | None = Field(description="as of a ranking, for this juror alone")
    noise: AssumedNoise | None = None
    overruled: list[str] = Field(default=[], description="trajectories whose score was dropped")
    code: str | None = Field(default=None, description="code of the error if it failed")


class Ranking(BaseModel):
    """The ranking of a group: one result per trajectory, in the order of the request."""

    id: str = Field(description="the ranking_id of `GET /rankings/{ranking_id}`")
    group_id: str | None = Field(description="as in the request")
    judge: str = Field(description="the judge that ranked the group")
    fallback_from: str | None = Field(default=None, description="the judge that failed first")
    model: str | None = Field(description="the judge's model; null for a checks judge")
    method: str = Field(description="how the judge was asked, for example listwise")
    passes: int = Field(description="number of passes over the group")
    results: list[TrajectoryResult]
    reliability: float | None = Field(description="share of the score variance that is signal")
    noise: AssumedNoise | None = Field(default=None, description="null if nothing was assumed")
    jurors: list[JurorResult] = Field(default=[], description="of a jury; empty for others")
    cached: bool = Field(description="whether the ranking came from the store")
    usage: Usage


class Problem(BaseModel):
    """An error as RFC 9457 defines it, with the members code, retryable, request_id and errors."""

    type: str = Field(description="urn:podium: and the code")
    title: str = Field(description="meaning of the code")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="one line: the value, the rule, and what to do")
    code: str = Field(description="name of the error, for programs")
    retryable: bool = Field(description="whether the same request may succeed later")
    request_id: str | None = Field(description="id of the request in the service's log")
    errors: list[dict[str, str]] = Field(default=[], description="fields at fault, at most ten")


class BatchLine(BaseModel):
    """One NDJSON line of `POST /rank/batch`."""

    index: int = Field(description="position of the group in the request, from 0")
    group_id: str | None = Field(description="as in the request; null if that was not valid")
    status: Literal["ranked", "failed"]
    ranking: Ranking | None = Field(default=None, description="if the group was ranked")
    problem: Problem | None = Field(default=None, description="if the group failed")

    def to_json(self) -> str:
        """Return the line with either `ranking` or `problem`, and without a line break."""
        return self.model_dump_json(exclude={"problem" if self.ranking else "ranking"})
