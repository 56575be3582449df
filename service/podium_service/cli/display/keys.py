"""API keys as a table."""

from typing import Any

from rich.table import Column, Table

from podium_service.cli.display.text import literal


def keys_table(keys: list[dict[str, Any]]) -> Table:
    """Show keys as `describe_keys` returns them; the column of owners only if there are any."""
    # Ids and dates are never broken, because a part of one is of no use.
    columns: list[Column | str] = [
        Column("id", no_wrap=True), "name", "owner", "scopes", "a minute", "spent",
        Column("created", no_wrap=True), Column("ends", min_width=10),
    ]  # fmt: skip
    shows_owners = any(key["owner"] for key in keys)
    if not shows_owners:
        columns.remove("owner")
    table = Table(*columns)
    for key in keys:
        owner = [literal(key["owner"])] if shows_owners else []
        table.add_row(
            key["id"], literal(key["name"]), *owner, ", ".join(key["scopes"]),
            str(key["requests_per_minute"] or ""), _spent(key), _day(key["created_at"]), _end(key),
        )  # fmt: skip
    return table


def _end(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {_day(key['revoked_at'])}"
    return _day(key["expires_at"])


def _day(moment: str | None) -> str:
    return (moment or "").partition("T")[0]


def _spent(key: dict[str, Any]) -> str:
    """Return, for example, `1.25 (+0.01 reserved) of 20 USD/day`."""
    limit = key["spend_limit"]
    if not limit:
        return ""
    reserved = f" (+{key['reserved_usd']:.2f} reserved)" if key["reserved_usd"] else ""
    return f"{key['spent_usd']:.2f}{reserved} of {limit['usd']:g} USD/{limit['per']}"
