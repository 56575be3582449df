"""`podium spend`: what judges cost by API key, judge, run or day, from the store."""

from datetime import date
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

if TYPE_CHECKING:  # slow to load
    from podium_service.schemas.spend import SpendBy


def spend_command(
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="What each row is about: key (the default), judge, run or day. Repeat it for "
            "several."
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(help="The first UTC day, as 2027-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="The last UTC day, which is included.")] = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets.")] = False,
    as_json: options.AsJSON = False,
) -> None:
    """Show what judges cost by API key, judge, run or day, whether spending is limited or not.

    Every call that was answered counts, also those of groups that failed.
    """
    from rich.console import Console

    from podium_service.cli.display.spend import spend_table
    from podium_service.store.history.spend import read_spend, to_csv

    options.configure_logs("error")
    if as_csv and as_json:
        raise ConfigError("--csv and --json exclude each other: give one of them")
    wanted = _by(by or ["key"])
    days = _day("--since", since), _day("--until", until)
    options.require_store(store)
    report = options.use_store(store, lambda opened: read_spend(opened, wanted, *days))
    if as_csv:
        typer.echo(to_csv(report), nl=False)
    elif as_json:
        options.print_json(report.model_dump(mode="json", exclude_unset=True))
    elif not report.rows:
        typer.echo("nothing was spent" + (" in these days" if since or until else ""))
    else:
        Console().print(spend_table(report))


def _by(names: list[str]) -> "list[SpendBy]":
    from podium_service.schemas.spend import SpendBy

    for name in names:
        if name not in get_args(SpendBy):
            raise ConfigError(f"--by {name!r}: must be one of {', '.join(get_args(SpendBy))}")
    return cast("list[SpendBy]", names)


def _day(option: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise ConfigError(f"{option} {text!r}: must be a day such as 2027-01-31") from error
