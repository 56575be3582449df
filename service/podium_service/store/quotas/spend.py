"""Spend limits: how much an API key or a judge may spend in a period, and on which account."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Period = Literal["day", "month", "total"]


class SpendLimit(BaseModel):
    """At most so many US dollars in a period."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    usd: Annotated[FiniteFloat, Field(gt=0)] = Field(
        description="the most to spend in a period, in US dollars",
        json_schema_extra={"group": "cost"},
    )
    per: Period = Field(
        default="day",
        description="the period: a UTC `day` (the default), a UTC `month`, or `total` for all time",
        json_schema_extra={"group": "cost"},
    )


@dataclass(frozen=True, slots=True)
class SpendAccount:
    """An account whose spending is bounded: a key's, or a judge's."""

    account: str
    limit_usd: float
    per: Period


def api_key_account(key: str, limit: SpendLimit | None) -> SpendAccount | None:
    """What bounds an API key's spending, if anything does."""
    return SpendAccount(f"key:{key}", limit.usd, limit.per) if limit else None
