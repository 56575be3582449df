"""The models of `GET /judges` and `GET /keys`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EndpointStatus(BaseModel):
    """Whether one endpoint of a judge answers now."""

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


class KeySpendLimit(BaseModel):
    """The most that a key's rankings may cost in a period."""

    usd: float
    per: Literal["day", "month", "total"]


class KeyStatus(BaseModel):
    """One API key, without its secret."""

    id: str
    name: str
    scopes: list[Literal["rank", "read", "admin"]]
    requests_per_minute: int | None = Field(description="groups it may send; null: no limit")
    spend_limit: KeySpendLimit | None
    spent_usd: float | None = Field(description="in this period of the spend limit")
    reserved_usd: float | None = Field(description="by calls that are under way")
    created_at: str = Field(description="UTC, as in 2026-01-31T12:00:00Z")
    revoked_at: str | None


class KeyList(BaseModel):
    """All API keys ever created."""

    keys: list[KeyStatus]
