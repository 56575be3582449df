"""`podium keys`: make, list and revoke API keys, in the store that the services share."""

from typing import Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError
from podium_service.store.quotas.spend import Period, SpendLimit

MAX_PER_MINUTE = 1_000_000
MIN_USD, MAX_USD = 1e-6, 1e9  # the store counts in whole micro-dollars

keys_app = typer.Typer(
    help="Make, list and revoke the API keys of the services on a store.", no_args_is_help=True
)


@keys_app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Who uses the key, or what it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What the key opens: rank (/rank and /rank/batch), read (all other routes) or "
            "admin (both, and /keys). Repeat it for several; the default is rank and read."
        ),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Groups a minute that the key may send; no limit by default.")
    ] = None,
    spend_usd: Annotated[
        float | None,
        typer.Option(help="US dollars that its rankings may cost; no limit by default."),
    ] = None,
    per: Annotated[Period | None, typer.Option(help="The period of --spend-usd, in UTC.")] = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Make an API key and print it, once: the store keeps only its hash.

    From the first key on, the services on this store answer only requests that bring a key.
    """
    from podium_service.http.access.api_key import create_key, describe_key
    from podium_service.http.access.api_key_store import add_key

    options.configure_logs("error")
    if requests_per_minute is not None and not 1 <= requests_per_minute <= MAX_PER_MINUTE:
        raise ConfigError(
            f"--requests-per-minute {requests_per_minute}: must be 1 to {MAX_PER_MINUTE}; "
            "leave it out for no limit"
        )
    limit = _spend_limit(spend_usd, per)
    key, text = create_key(name, scope or ("rank", "read"), requests_per_minute, limit)
    options.use_store(store, lambda opened: add_key(opened, key))
    if as_json:
        options.print_json({**describe_key(key), "key": text})
    else:
        typer.echo(text)
        where = options.store_shown(store)
        typer.echo(f"key {key.id} ({key.name}) of {where}: keep it, it is shown only now", err=True)


@keys_app.command("list")
def list_command(
    store: options.StoreURL = options.DEFAULT_STORE, as_json: options.AsJSON = False
) -> None:
    """Show all keys ever made, without their secrets, and the spending of each."""
    from rich.console import Console

    from podium_service.cli.display.keys import keys_table
    from podium_service.http.access.api_key_store import describe_keys

    options.configure_logs("error")
    options.require_store(store)
    keys = options.use_store(store, describe_keys)
    if as_json:
        options.print_json(keys)
    elif not keys:
        typer.echo(
            "no keys: whoever reaches the service on loopback may ask; "
            "make one with podium keys create NAME"
        )
    else:
        Console().print(keys_table(keys))


@keys_app.command("revoke")
def revoke_command(
    key_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id that `podium keys list` shows.")
    ],
    store: options.StoreURL = options.DEFAULT_STORE,
) -> None:
    """Revoke a key; the services on the store refuse it within 2 s."""
    from podium_service.http.access.api_key_store import revoke_key

    options.configure_logs("error")
    options.require_store(store)
    key = options.use_store(store, lambda opened: revoke_key(opened, key_id))
    typer.echo(f"key {key.id} ({key.name}) is revoked", err=True)


def _spend_limit(usd: float | None, per: Period | None) -> SpendLimit | None:
    if (usd is None) != (per is None):
        raise ConfigError("--spend-usd and --per go together, as in --spend-usd 20 --per day")
    if usd is not None and not MIN_USD <= usd <= MAX_USD:
        raise ConfigError(
            f"--spend-usd {usd:g}: must be {MIN_USD:f} to {MAX_USD:.0f} US dollars; leave it out "
            "for no limit"
        )
    return SpendLimit(usd=usd, per=per) if usd is not None and per is not None else None
