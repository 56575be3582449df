"""The models of `GET /spend`: what judges cost, by API key, judge, run and day."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SpendBy = Literal["key", "judge", "run", "day"]
MAX_SPEND_ROWS = 10_000


class SpendQuery(BaseModel):
    """The query of `GET /spend`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    by: Annotated[list[SpendBy], Field(min_length=1, max_length=4)] = Field(
        default=["key"], description="what each row is about; several give a row per combination"
    )
    since: date | None = Field(default=None, description="first UTC day, as 2027-01-31")
    until: date | None = Field(default=None, description="last UTC day, which is included")
    format: Literal["json", "csv"] = "json"


class SpendSum(BaseModel):
    """The cost of some calls to judges."""

    calls: int = Field(description="calls that were answered, also those of groups that failed")
    tokens: int = Field(description="of prompts and replies")
    cost_usd: float | None = Field(description="null if none of the judges has a price")


class SpendRow(SpendSum):
    """The cost of the calls of one key, judge, run or day; it has the fields that `by` names."""

    key_id: str | None = Field(
        default=None, description="null: PODIUM_API_KEY, no key, or a command without a service"
    )
    key: str | None = Field(default=None, description="the key's name")
    owner: str | None = Field(default=None, description="the key's owner")
    judge: str | None = Field(default=None, description="of a jury: the juror")
    run: str | None = Field(default=None, description="null: groups whose metadata name no run")
    day: str | None = Field(default=None, description="UTC, as 2027-01-31")


class SpendReport(BaseModel):
    """The costs of judges, the dearest first; by day, in the order of the days."""

    by: list[SpendBy]
    since: date | None
    until: date | None
    rows: list[SpendRow]
    total: SpendSum = Field(description="of all rows, also of those that were left out")
    is_cut: bool = Field(description=f"whether rows after the first {MAX_SPEND_ROWS} are left out")
