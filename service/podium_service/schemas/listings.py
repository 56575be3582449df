"""The models of `GET /judges`."""

from pydantic import BaseModel, ConfigDict, Field


class EndpointStatus(BaseModel):
    """The state of one endpoint of a judge: whether it answers now."""

    base_url: str
    answers: bool
    latency_ms: float | None = Field(default=None, description="time to list the models")
    models: list[str] | None = Field(default=None, description="models it lists, at most 20")
    lists_model: bool | None = Field(
        default=None, description="whether the judge's model is in its list, as far as that tells"
    )
    detail: str | None = Field(default=None, description="what is wrong, or was guessed")


class JudgeStatus(BaseModel):
    """One configured judge: its settings without secrets, and whether it answers now."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"description": "and all settings of the judge by name"}
    )

    name: str
    default: bool = Field(description="whether groups that name no judge get this one")
    kind: str = Field(description="llm, jury or checks")
    answers: bool = Field(description="whether it can rank now; of a jury: whether a quorum can")
    endpoints: list[EndpointStatus] = Field(description="of a jury: those of all its members")


class JudgeList(BaseModel):
    """The configured judges."""

    judges: list[JudgeStatus]
