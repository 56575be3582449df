"""The models of what people say about a group: notes, and orders of their own.

Their descriptions are published in the OpenAPI document.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from podium_service.schemas.request import MAX_ID_CHARS, MAX_TRAJECTORIES

MAX_NOTE_CHARS = 4000

_Person = Annotated[
    str, Field(description="the name of the API key that was used; empty where none was needed")
]
_KeyID = Annotated[str | None, Field(description="null for a key of the environment, or none")]
_Tiers = Annotated[
    list[Annotated[list[Annotated[str, Field(max_length=MAX_ID_CHARS)]], Field(min_length=1)]],
    Field(
        min_length=1,
        max_length=MAX_TRAJECTORIES,
        description="ids of all trajectories, the best first; those of one tier are equal",
    ),
]


class NoteRequest(BaseModel):
    """A note to be written."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: str = Field(min_length=1, max_length=MAX_NOTE_CHARS)


class NoteView(BaseModel):
    """A note that a person wrote about a ranking."""

    id: str
    at: float = Field(description="when it was written, in seconds since the epoch")
    person: _Person
    api_key_id: _KeyID
    text: str


class NoteList(BaseModel):
    """The notes about a ranking, oldest first."""

    notes: list[NoteView]


class OrderRequest(BaseModel):
    """The order in which a person puts the attempts of a group."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    tiers: _Tiers
    is_blind: bool = Field(
        default=False, description="whether the person saw no judge's ranking of the group before"
    )


class OrderView(BaseModel):
    """A person's order of a group; a later one of the same key takes its place."""

    at: float = Field(description="when it was given, in seconds since the epoch")
    person: _Person
    api_key_id: _KeyID
    tiers: _Tiers
    is_blind: bool
    tau: float | None = Field(
        description="Kendall's tau of this ranking's rewards with the order; null: the group "
        "failed, or both tie all attempts"
    )


class OrderList(BaseModel):
    """The orders of all people for a group, the newest first."""

    orders: list[OrderView]
