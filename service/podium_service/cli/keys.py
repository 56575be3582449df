"""`podium keys`: make, list and revoke API keys, in the store that the services share."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from podium_service.cli.display import literal
from podium_service.cli.options import (
    DEFAULT_STORE,
    AsJSON,
    StoreURL,
    print_json,
    require_store,
    store_shown,
)
from podium_service.errors import ConfigError
from podium_service.http.api_key import APIKey, create_key, describe_key
from podium_service.http.api_key_store import add_key, describe_keys, revoke_key
from podium_service.store.quotas.spend import Period, SpendLimit
from podium_service.store.store import open_store
from podium_service.telemetry import logs

MAX_PER_MINUTE = 1_000_000
MIN_USD, MAX_USD = 1e-6, 1e9  # the store counts in whole micro-dollars
_WHOLE = ("id", "created", "revoked")  # however narrow the terminal is
_NO_KEYS = (
    "no keys: whoever reaches the service on loopback may ask; "
    "make one with podium keys create NAME"
)

keys_app = typer.Typer(help="API keys of the services on a store.", no_args_is_help=True)


@keys_app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="rank: /rank, /rank/batch; read: the rest; admin: both, and /keys. "
            "Repeat for several; rank and read by default."
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Groups it may send; no limit by default.")
    ] = None,
    spend_usd: Annotated[
        float | None, typer.Option(help="What its rankings may cost; no limit by default.")
    ] = None,
    per: Annotated[Period | None, typer.Option(help="Of --spend-usd; in UTC.")] = None,
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Make a key and print it, once: the store keeps its hash. Then services are guarded."""
    logs.configure("error")
    _require_rate(requests_per_minute)
    limit = _spend_limit(spend_usd, per)
    key, text = create_key(name, scope or ("rank", "read"), requests_per_minute, limit)
    asyncio.run(_add(store, key))
    if as_json:
        print_json({**describe_key(key), "key": text})
    else:
        typer.echo(text)
        where = store_shown(store)
        typer.echo(f"key {key.id} ({key.name}) of {where}: keep it, it is shown only now", err=True)


@keys_app.command("list")
def list_command(store: StoreURL = DEFAULT_STORE, as_json: AsJSON = False) -> None:
    """Show all keys ever made, without their secrets, and what each has spent."""
    logs.configure("error")
    require_store(store)
    keys = asyncio.run(_list(store))
    if as_json:
        print_json(keys)
    elif not keys:
        typer.echo(_NO_KEYS)
    else:
        Console().print(_table(keys))


@keys_app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As podium keys list shows it.")],
    store: StoreURL = DEFAULT_STORE,
) -> None:
    """Let a key open nothing any more; services notice in 2 s."""
    logs.configure("error")
    require_store(store)
    key = asyncio.run(_revoke(store, key_id))
    typer.echo(f"key {key.id} ({key.name}) is revoked", err=True)


def _require_rate(number: int | None) -> None:
    if number is not None and not 1 <= number <= MAX_PER_MINUTE:
        raise ConfigError(
            f"--requests-per-minute {number}: must be 1 to {MAX_PER_MINUTE}; leave it out for no "
            "limit"
        )


def _spend_limit(usd: float | None, per: Period | None) -> SpendLimit | None:
    if (usd is None) != (per is None):
        raise ConfigError("--spend-usd and --per go together, as in --spend-usd 20 --per day")
    if usd is not None and not MIN_USD <= usd <= MAX_USD:
        raise ConfigError(
            f"--spend-usd {usd:g}: must be {MIN_USD:f} to {MAX_USD:.0f} US dollars; leave it out "
            "for no limit"
        )
    return SpendLimit(usd=usd, per=per) if usd is not None and per is not None else None


def _table(keys: list[dict[str, Any]]) -> Table:
    """Of keys as `describe_keys` gives them."""
    table = Table()
    for name in ("id", "name", "scopes", "a minute", "spent", "created", "revoked"):
        table.add_column(name, no_wrap=name in _WHOLE)
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


async def _add(store_url: str, key: APIKey) -> None:
    async with open_store(store_url) as store:
        await add_key(store, key)


async def _list(store_url: str) -> list[dict[str, Any]]:
    async with open_store(store_url) as store:
        return await describe_keys(store)


async def _revoke(store_url: str, key_id: str) -> APIKey:
    async with open_store(store_url) as store:
        return await revoke_key(store, key_id)
