"""API keys as a table."""

from typing import Any

from rich.table import Column, Table

from podium_service.cli.display.text import literal

# These columns are never wrapped, because a part of an id or a date is of no use.
_UNWRAPPED = ("id", "created", "revoked")


def keys_table(keys: list[dict[str, Any]]) -> Table:
    """Show keys as `describe_keys` returns them."""
    names = ("id", "name", "scopes", "a minute", "spent", "created", "revoked")
    table = Table(*(Column(name, no_wrap=name in _UNWRAPPED) for name in names))
    for key in keys:
        table.add_row(
            key["id"], literal(key["name"]), ", ".join(key["scopes"]),
            str(key["requests_per_minute"] or ""), _spent(key),
            key["created_at"].partition("T")[0], (key["revoked_at"] or "").partition("T")[0],
        )  # fmt: skip
    return table


def _spent(key: dict[str, Any]) -> str:
    """Return, for example, `1.25 (+0.01 reserved) of 20 USD/day`."""
    limit = key["spend_limit"]
    if not limit:
        return ""
    reserved = f" (+{key['reserved_usd']:.2f} reserved)" if key["reserved_usd"] else ""
    return f"{key['spent_usd']:.2f}{reserved} of {limit['usd']:g} USD/{limit['per']}"
