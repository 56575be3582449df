"""`podium keys`: make, list, edit and revoke API keys, in the store that the services share."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from podium_service.cli import options
from podium_service.cli.commands.store import parse_age
from podium_service.errors import ConfigError
from podium_service.store.quotas.spend import Period, SpendLimit

keys_app = typer.Typer(
    help="Make, list, edit and revoke the API keys of the services on a store.",
    no_args_is_help=True,
)

_KeyId = Annotated[str, typer.Argument(metavar="ID", help="The id that `podium keys list` shows.")]
_Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        help="What the key opens: rank (/rank and /rank/batch), read (all other routes) or "
        "admin (both, and /keys). Repeat it for several; the default is rank and read.",
    ),
]
_PerMinute = Annotated[
    int | None,
    typer.Option(
        "--requests-per-minute", help="Groups a minute that the key may send; no limit by default."
    ),
]
_SpendUSD = Annotated[
    float | None,
    typer.Option("--spend-usd", help="US dollars that its rankings may cost; no limit by default."),
]
_Per = Annotated[Period | None, typer.Option(help="The period of --spend-usd, in UTC.")]
_Owner = Annotated[str | None, typer.Option(help="Whom to ask about the key, in any form.")]
_Expires = Annotated[
    str | None,
    typer.Option(
        help="When it ends by itself: in 12h, 30d or 8w, or at 2027-01-31 or 2027-01-31T12:00Z."
    ),
]


@keys_app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Who uses the key, or what it is for.")],
    scope: _Scopes = None,
    requests_per_minute: _PerMinute = None,
    spend_usd: _SpendUSD = None,
    per: _Per = None,
    owner: _Owner = None,
    expires: _Expires = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Make an API key and print it, once: the store keeps only its hash.

    From the first key on, the services on this store answer only requests that bring a key.
    """
    from podium_service.http.access.api_key import create_key, describe_key
    from podium_service.http.access.api_key_store import add_key

    options.configure_logs("error")
    _require_rate(requests_per_minute)
    limit = _spend_limit(spend_usd, per)
    key, text = create_key(
        name,
        scope or ("rank", "read"),
        requests_per_minute,
        limit,
        owner=owner or "",
        expires_at=_expiry(expires),
    )
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


@keys_app.command("edit")
def edit_command(
    key_id: _KeyId,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What the key opens from now on; repeat it for several."),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Groups a minute that the key may send.")
    ] = None,
    spend_usd: Annotated[
        float | None, typer.Option(help="US dollars that its rankings may cost.")
    ] = None,
    per: _Per = None,
    owner: _Owner = None,
    expires: _Expires = None,
    no_request_limit: Annotated[
        bool, typer.Option("--no-request-limit", help="Let it send any number of groups.")
    ] = False,
    no_spend_limit: Annotated[
        bool, typer.Option("--no-spend-limit", help="Let its rankings cost any amount.")
    ] = False,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="Let it never expire.")] = False,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Change what a key is called, may do and may spend; its text and all else stay as they are.

    The services on the store notice within 2 s. Spending goes on from where it is, unless the
    period changes: then it begins at nothing.
    """
    options.configure_logs("error")
    _require_rate(requests_per_minute)
    limit = _spend_limit(spend_usd, per)
    _refuse_both(
        "--requests-per-minute", requests_per_minute, "--no-request-limit", no_request_limit
    )
    _refuse_both("--spend-usd", limit, "--no-spend-limit", no_spend_limit)
    _refuse_both("--expires", expires, "--no-expiry", no_expiry)
    changes: dict[str, Any] = {
        "name": name,
        "owner": owner,
        "scopes": frozenset(scope) if scope else None,
        "requests_per_minute": requests_per_minute,
        "spend_limit": limit,
        "expires_at": _expiry(expires),
    }
    changes = {field: value for field, value in changes.items() if value is not None}
    changes |= {"requests_per_minute": None} if no_request_limit else {}
    changes |= {"spend_limit": None} if no_spend_limit else {}
    changes |= {"expires_at": None} if no_expiry else {}
    if not changes:
        raise ConfigError("nothing to change: name a new value, as in --requests-per-minute 60")
    _change(store, key_id, changes, as_json=as_json)


@keys_app.command("revoke")
def revoke_command(
    key_id: _KeyId,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Revoke a key; the services on the store refuse it within 2 s."""
    options.configure_logs("error")
    _change(store, key_id, None, as_json=as_json)


def _change(store: str, key_id: str, changes: dict[str, Any] | None, *, as_json: bool) -> None:
    """Edit a key, or revoke it where there are no changes, and tell what it is now."""
    from podium_service.http.access import api_key_store
    from podium_service.store.store import SQLStore

    async def change(opened: SQLStore) -> dict[str, Any]:
        if changes is None:
            key = await api_key_store.revoke_key(opened, key_id)
        else:
            key = await api_key_store.edit_key(opened, key_id, changes)
        [described] = await api_key_store.describe_keys(opened, [key])
        return described

    options.require_store(store)
    key = options.use_store(store, change)
    if as_json:
        options.print_json(key)
    else:
        done = "revoked" if changes is None else "changed"
        typer.echo(f"key {key['id']} ({key['name']}) is {done}", err=True)


def _require_rate(requests_per_minute: int | None) -> None:
    from podium_service.schemas.keys import MAX_REQUESTS_PER_MINUTE

    if requests_per_minute is not None and not 1 <= requests_per_minute <= MAX_REQUESTS_PER_MINUTE:
        raise ConfigError(
            f"--requests-per-minute {requests_per_minute}: must be 1 to {MAX_REQUESTS_PER_MINUTE}; "
            "leave it out for no limit"
        )


def _spend_limit(usd: float | None, per: Period | None) -> SpendLimit | None:
    from podium_service.schemas.keys import MAX_USD, MIN_USD

    if (usd is None) != (per is None):
        raise ConfigError("--spend-usd and --per go together, as in --spend-usd 20 --per day")
    if usd is not None and not MIN_USD <= usd <= MAX_USD:
        raise ConfigError(
            f"--spend-usd {usd:g}: must be {MIN_USD:f} to {MAX_USD:.0f} US dollars; leave it out "
            "for no limit"
        )
    return SpendLimit(usd=usd, per=per) if usd is not None and per is not None else None


def _expiry(text: str | None) -> float | None:
    """Return the moment that a date, a time or an age from now names; a date begins in UTC."""
    from podium_service.schemas.keys import require_future

    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.now(UTC) + timedelta(seconds=parse_age(text))
        except (typer.BadParameter, OverflowError) as error:
            raise ConfigError(
                f"--expires {text!r}: must be an age such as 30d, or a date such as 2027-01-31"
            ) from error
    try:
        return require_future(at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except ValueError as error:
        raise ConfigError(f"--expires {text}: {error}") from error


def _refuse_both(option: str, value: Any, no_option: str, is_off: bool) -> None:
    if value is not None and is_off:
        raise ConfigError(f"{option} and {no_option} exclude each other: give one of them")
