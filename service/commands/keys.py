"""`podium keys`: make, list and revoke API keys, in the store that the services share."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from service import logs
from service.access import APIKey, key_shown, mint
from service.caller import Period, SpendLimit
from service.commands import DEFAULT_STORE, AsJSON, StoreURL, print_json
from service.errors import ConfigError
from service.keyring import add_key, revoke_key, shown_keys
from service.store import open_store

keys_app = typer.Typer(help="API keys of the services on a store.", no_args_is_help=True)


@keys_app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="rank: /rank, /rank/batch; read: the rest; admin: both, and /keys. "
            "Several; rank and read by default."
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Groups it may send; no limit by default.")
    ] = None,
    spend_usd: Annotated[
        float | None, typer.Option(min=0, help="What its rankings may cost; no limit by default.")
    ] = None,
    per: Annotated[Period | None, typer.Option(help="Of --spend-usd; in UTC.")] = None,
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Make a key and print it, once: the store keeps its hash. Then services are guarded."""
    logs.configure("error")
    key, text = mint(
        name, scope or ("rank", "read"), requests_per_minute, _spend_limit(spend_usd, per)
    )
    asyncio.run(_add(store, key))
    if as_json:
        print_json({**key_shown(key), "key": text})
    else:
        typer.echo(text)
        typer.echo(f"key {key.id} ({key.name}): keep it, it is shown only now", err=True)


@keys_app.command("list")
def list_command(store: StoreURL = DEFAULT_STORE, as_json: AsJSON = False) -> None:
    """Show all keys ever made, without their secrets, and what each has spent."""
    logs.configure("error")
    keys = asyncio.run(_list(store))
    if as_json:
        print_json(keys)
    else:
        Console().print(_table(keys))


@keys_app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As podium keys list shows it.")],
    store: StoreURL = DEFAULT_STORE,
) -> None:
    """Let a key open nothing any more; services notice in 2 s."""
    logs.configure("error")
    key = asyncio.run(_revoke(store, key_id))
    typer.echo(f"key {key.id} ({key.name}) is revoked", err=True)


def _spend_limit(usd: float | None, per: Period | None) -> SpendLimit | None:
    if (usd is None) != (per is None):
        raise ConfigError("--spend-usd and --per go together, as in --spend-usd 20 --per day")
    return SpendLimit(usd=usd, per=per) if usd is not None and per is not None else None


def _table(keys: list[dict[str, Any]]) -> Table:
    """Of keys as `shown_keys` gives them."""
    table = Table("id", "name", "scopes", "a minute", "spent", "created", "revoked")
    for key in keys:
        table.add_row(
            key["id"], key["name"], ", ".join(key["scopes"]),
            str(key["requests_per_minute"] or ""), _spent(key),
            key["created_at"], key["revoked_at"] or "",
        )  # fmt: skip
    return table


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
        return await shown_keys(store)


async def _revoke(store_url: str, key_id: str) -> APIKey:
    async with open_store(store_url) as store:
        return await revoke_key(store, key_id)
