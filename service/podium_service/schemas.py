"""The wire: what `POST /rank` takes and gives. The only place where a request is validated."""

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
    FiniteFloat, Field(gt=0, le=MAX_DEADLINE_S, description="seconds for the whole request")
]
Tool = dict[str, Any]


class _Strict(BaseModel):
    """Refuses fields it does not know by the first of them: a list of thousands costs memory."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _knows_all_fields(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = cls.model_fields.keys()
            if not value.keys() <= known:
                unknown = next(name for name in value if name not in known)
                rule = "no such field: extra fields are not permitted"
                raise PydanticCustomError("unknown_field", rule, {"loc": (unknown,)})
        return value


class TextPart(BaseModel):
    type: Literal["text"] = Field(description="only text parts can be judged so far")
    text: str


class FunctionCall(BaseModel):
    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(BaseModel):
    id: Id
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(BaseModel):
    """One OpenAI chat message. Extra keys are allowed, neither shown to a judge nor hashed."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The message's text, parts joined; empty where there is none."""
        content = self.content
        if isinstance(content, list):
            return "".join(part.text for part in content)
        return content or ""

    @property
    def misshapen(self) -> str | None:
        """The rule for messages of its role that it breaks, if it does."""
        if self.tool_calls and self.role != "assistant":
            return "only an assistant message may carry tool_calls"
        if self.role == "tool" and self.tool_call_id is None:
            return "a tool message needs the tool_call_id of the call it answers"
        if self.content is None and not self.tool_calls:
            return "content may be left out only by an assistant message with tool_calls"
        return None


class Trajectory(_Strict):
    """One attempt at the task: prompt, completions and tool results as chat messages."""

    id: Id
    messages: Annotated[list[Message], Field(min_length=1)]
    tools: list[Tool] | None = None
    finish_reason: Annotated[str, Field(max_length=64)] | None = None
    verified_reward: FiniteFloat | None = Field(
        default=None,
        ge=0,
        le=1,
        description="a reward the caller checked itself; never shown to a judge; mixed into the "
        "reward by the judge's `verified_weight`",
    )

    @field_validator("messages")
    @classmethod
    def _shapes_follow_roles(cls, messages: list[Message]) -> list[Message]:
        """For all at once: a validator of each would be called some hundred times a group."""
        rules = {i: rule for i, message in enumerate(messages) if (rule := message.misshapen)}
        if rules:
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    {"type": PydanticCustomError("misshapen", rule), "loc": (i,), "input": None}
                    for i, rule in rules.items()
                ],
            )
        return messages

    @field_validator("messages")
    @classmethod
    def _tool_messages_answer_calls(cls, messages: list[Message]) -> list[Message]:
        called: set[str] = set()
        for index, message in enumerate(messages):
            if message.role == "tool" and message.tool_call_id not in called:
                raise ValueError(f"messages.{index} is a tool message that answers no earlier call")
            if message.tool_calls:
                called.update(call.id for call in message.tool_calls)
        return messages


class RankRequest(_Strict):
    """One group: the trajectories of one prompt."""

    group_id: Id | None = None
    judge: Id | None = Field(default=None, description="a judge's name; the default judge if null")
    task: str | None = Field(default=None, description="what was to be done; shown to the judge")
    reference: str | None = Field(default=None, description="a known good answer; shown, too")
    rubric: str | None = Field(default=None, description="replaces the judge's rubric")
    tools: list[Tool] | None = None
    trajectories: Annotated[list[Trajectory], Field(min_length=2, max_length=MAX_TRAJECTORIES)]
    deadline_s: Deadline = DEFAULT_DEADLINE_S
    metadata: dict[str, Any] | None = Field(
        default=None, description="kept with the ranking's first request; not shown, not hashed"
    )

    @field_validator("trajectories", mode="before")
    @classmethod
    def _are_enough_and_not_too_many(cls, value: Any) -> Any:
        if isinstance(value, list) and len(value) < 2:
            raise ValueError(f"a group needs two trajectories or more, not {len(value)}")
        if isinstance(value, list) and len(value) > MAX_TRAJECTORIES:
            raise ValueError(
                f"a group has at most {MAX_TRAJECTORIES} trajectories, not {len(value)}"
            )
        return value

    @field_validator("trajectories")
    @classmethod
    def _ids_are_unique(cls, trajectories: list[Trajectory]) -> list[Trajectory]:
        first: dict[str, int] = {}
        for index, trajectory in enumerate(trajectories):
            if trajectory.id in first:
                where = first[trajectory.id]
                raise ValueError(f"ids must be unique: {index} has the same id as {where}")
            first[trajectory.id] = index
        return trajectories


class BatchRequest(_Strict):
    """Many groups; each is validated on its own, so that a bad one fails its own line only."""

    groups: Annotated[list[Any], Field(max_length=MAX_BATCH_GROUPS)] = Field(
        description="objects as `POST /rank` takes them"
    )
    deadline_s: Deadline | None = Field(
        default=None, description="for the groups that name none; starts on arrival"
    )


class Usage(BaseModel):
    """What this request spent; all zero when the answer came from the store."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = Field(default=None, description="null if the judge has no price")


class TrajectoryResult(BaseModel):
    id: str
    rank: float = Field(description="1 is best; ties share the mean rank")
    reward: float = Field(ge=0, le=1)
    score: float | None = Field(description="in [0, 1]; null if no judge was asked")
    stderr: float | None = Field(description="of the score; null if it cannot be known")
    explanation: str = ""
    flags: list[str] = []


class AssumedNoise(BaseModel):
    """What was known of the judge before the group was judged; replaying needs it."""

    variance: float = Field(description="of the noise of one score, on the judge's scale, squared")
    df: float | None = Field(description="degrees of freedom it is worth; null: taken as certain")
    groups: int = Field(description="past groups that this was learnt from; 0: configured")
    slots: list[float] = Field(
        description="the judge's bias along a list, from its first slot to its last; removed"
    )
    ratios: list[float] = Field(
        description="how often groups of this judge have how much signal, from none to all"
    )


class JurorResult(BaseModel):
    """How one juror of a jury fared."""

    judge: str
    model: str
    status: Literal["counted", "rejected", "failed"] = Field(
        description="rejected: at odds with the others beyond its own noise"
    )
    weight: float = Field(description="share in the combined scores; sums to 1")
    agreement: float | None = Field(description="Kendall's tau_b with the other jurors combined")
    reliability: float | None
    noise: AssumedNoise | None = None
    overruled: list[str] = Field(
        default=[], description="trajectories on which its say was dropped"
    )
    code: str | None = Field(default=None, description="why it failed")


class Ranking(BaseModel):
    """The answer: one result per trajectory, in the order of the request."""

    id: str
    group_id: str | None
    judge: str = Field(description="the judge that answered")
    fallback_from: str | None = Field(default=None, description="the judge that was asked first")
    model: str | None
    method: str
    passes: int
    results: list[TrajectoryResult]
    reliability: float | None = Field(description="share of the score variance that is signal")
    noise: AssumedNoise | None = Field(
        default=None, description="null if nothing was assumed: each group told its own noise"
    )
    jurors: list[JurorResult] = Field(default=[], description="of a jury; else empty")
    cached: bool
    usage: Usage


class Problem(BaseModel):
    """RFC 9457, with three members of ours."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    request_id: str | None
    errors: list[dict[str, str]] = []


class BatchLine(BaseModel):
    """One NDJSON line of `POST /rank/batch`."""

    index: int
    group_id: str | None
    status: Literal["ranked", "failed"]
    ranking: Ranking | None = None
    problem: Problem | None = None

    def to_json(self) -> str:
        """One line, with the one of `ranking` and `problem` that there is."""
        return self.model_dump_json(exclude={"problem" if self.ranking else "ranking"})
