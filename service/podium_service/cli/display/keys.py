"""API keys as a table."""

from typing import Any

from rich.table import Table

from podium_service.cli.display.text import literal

# These columns are never wrapped, because a part of an id or a date is of no use.
_UNWRAPPED = ("id", "created", "revoked")


def keys_table(keys: list[dict[str, Any]]) -> Table:
    """Of keys as `describe_keys` gives them."""
    table = Table()
    for name in ("id", "name", "scopes", "a minute", "spent", "created", "revoked"):
        table.add_column(name, no_wrap=name in _UNWRAPPED)
    for key in keys:
        table.add_row(
            key["id"], literal(key["name"]), ", ".join(key["scopes"]),
            str(key["requests_per_minute"] or ""), _spent(key),
            _day(key["created_at"]), _day(key["revoked_at"] or ""),
        )  # fmt: skip
    return table


def _day(moment: str) -> str:
    return moment.partition("T")[0]


def _spent(key: dict[str, Any]) -> str:
    """For example `1.25 (+0.01 reserved) of 20 USD/day`."""
    limit = key["spend_limit"]
    if not limit:
        return ""
    reserved = f" (+{key['reserved_usd']:.2f} reserved)" if key["reserved_usd"] else ""
    return f"{key['spent_usd']:.2f}{reserved} of {limit['usd']:g} USD/{limit['per']}"
