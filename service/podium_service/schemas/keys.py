"""The models of `/keys`: what makes or changes an API key, and what is told of one."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

MAX_NAME_CHARS = 64
MAX_OWNER_CHARS = 200
MAX_REQUESTS_PER_MINUTE = 1_000_000
MIN_USD, MAX_USD = 1e-6, 1e9  # the store counts in whole micro-dollars
_LAST = datetime(9999, 1, 1, tzinfo=UTC)


def _require_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def require_future(at: datetime) -> datetime:
    """Raise ValueError for a moment at which no key may expire."""
    if not datetime.now(UTC) < at < _LAST:
        raise ValueError("must be in the future, and before the year 9999; revoke a key to end it")
    return at


_Name = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME_CHARS, description="who uses it, or what it is for"),
    AfterValidator(_require_printable),
]
_Owner = Annotated[
    str,
    Field(max_length=MAX_OWNER_CHARS, description="whom to ask about it, in any form"),
    AfterValidator(_require_printable),
]
_Scopes = Annotated[
    list[Literal["rank", "read", "admin"]],
    Field(min_length=1, max_length=3, description="the groups of routes that it opens"),
]
_RequestsPerMinute = Annotated[
    Annotated[int, Field(ge=1, le=MAX_REQUESTS_PER_MINUTE)] | None,
    Field(description="groups it may send; null: no limit"),
]
_ExpiresAt = Annotated[
    Annotated[AwareDatetime, AfterValidator(require_future)] | None,
    Field(description="refused from then on; null: never"),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class KeySpendLimit(_Strict):
    """The most that a key's rankings may cost in a period."""

    usd: Annotated[FiniteFloat, Field(ge=MIN_USD, le=MAX_USD)]
    per: Literal["day", "month", "total"] = Field(description="a UTC day or month, or all time")


class KeyRequest(_Strict):
    """A key to be made."""

    name: _Name
    owner: _Owner = ""
    scopes: _Scopes = ["rank", "read"]
    requests_per_minute: _RequestsPerMinute = None
    spend_limit: KeySpendLimit | None = None
    expires_at: _ExpiresAt = None


class KeyChange(_Strict):
    """A change of a key: a field that is left out stays, and null removes a limit."""

    # The defaults are never read, and are made by functions to stay out of the published schema.
    name: Annotated[_Name, Field(default_factory=str)]
    owner: Annotated[_Owner, Field(default_factory=str)]
    scopes: Annotated[_Scopes, Field(default_factory=list)]
    requests_per_minute: _RequestsPerMinute = None
    spend_limit: KeySpendLimit | None = None
    expires_at: _ExpiresAt = None


class KeyStatus(BaseModel):
    """One API key, without its secret."""

    id: str
    name: str
    owner: str
    scopes: list[Literal["rank", "read", "admin"]]
    requests_per_minute: int | None = Field(description="groups it may send; null: no limit")
    spend_limit: KeySpendLimit | None
    spent_usd: float | None = Field(description="in this period of the spend limit; null: no limit")
    reserved_usd: float | None = Field(description="by calls that are under way")
    created_at: str = Field(description="UTC, as in 2026-01-31T12:00:00Z")
    expires_at: str | None
    revoked_at: str | None


class NewKey(KeyStatus):
    """A key that was just made, with its text."""

    key: str = Field(description="what its user sends; it is told only now, and kept nowhere")


class KeyList(BaseModel):
    """All API keys ever made, oldest first."""

    keys: list[KeyStatus]
