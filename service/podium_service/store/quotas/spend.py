"""Spend limits: how much an API key or a judge may spend in a period, and on which account."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Period = Literal["day", "month", "total"]
_COST = Field(json_schema_extra={"group": "cost"})


class SpendLimit(BaseModel):
    """The most that may be spent in a period."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    usd: Annotated[FiniteFloat, Field(gt=0), _COST]
    """The most to spend in a period, in US dollars."""
    per: Annotated[Period, _COST] = "day"
    """The period: a UTC `day` (the default), a UTC `month`, or `total` for all time."""


@dataclass(frozen=True, slots=True)
class SpendAccount:
    """An account whose spending in a period is limited.

    The name is `key:` and an API key's id, or `judge:` and a judge's name.
    """

    name: str
    limit_usd: float
    per: Period


def api_key_account(key_id: str, limit: SpendLimit | None) -> SpendAccount | None:
    """Return the account of an API key, if its spending is limited."""
    return SpendAccount(f"key:{key_id}", limit.usd, limit.per) if limit else None
