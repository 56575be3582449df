"""`podium replay` shows a stored ranking; `podium store prune` deletes what is old."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import NotFound

if TYPE_CHECKING:  # the database's library is slow to load
    from podium_service.store.history.reader import PastRanking
    from podium_service.store.store import SQLStore

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

store_app = typer.Typer(help="Care for the store.", no_args_is_help=True)


def replay_command(
    ranking_id: Annotated[
        str, typer.Argument(help="The `id` of a ranking, rk_..., as `podium rank` prints it.")
    ],
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Print the exact prompts and replies, too.")
    ] = False,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Print how a past ranking came about: the score and the slot of each attempt in each pass.

    The id of a group that failed, which its problem tells as ranking_id, shows why.
    """
    from rich.console import Console

    from podium_service.cli.display.replay import print_replay

    options.configure_logs("error")
    options.require_store(store)
    past = options.use_store(store, lambda opened: read_replay(opened, ranking_id, store))
    if as_json:
        calls = [call.model_dump() for call in past.calls]
        options.print_json({**past.detail.model_dump(), "calls": calls})
    else:
        print_replay(Console(), past, with_prompts=prompts)


@store_app.command("prune")
def prune_command(
    older_than: Annotated[str, typer.Option(help="An age: 90s, 15m, 12h, 30d, 8w.")],
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Delete rankings and judge calls older than an age; they are paid again if asked again.

    Windows and spending periods of quotas are deleted, too, a day after they ended or later.
    """
    options.configure_logs("error")
    seconds = parse_age(older_than)
    options.require_store(store)
    deleted = options.use_store(store, lambda opened: _prune(opened, seconds))
    if as_json:
        options.print_json(deleted)
    else:
        typer.echo(
            ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in deleted.items())
        )


def parse_age(text: str) -> float:
    """Return the seconds of an age such as `30d`.

    Raises:
        typer.BadParameter: If the text is not a number and one of the units.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", text.strip())
    if not match:
        raise typer.BadParameter(f"{text!r} is no age: write a number and s, m, h, d or w")
    return float(match[1]) * _UNITS_S[match[2]]


async def read_replay(store: "SQLStore", ranking_id: str, store_url: str) -> "PastRanking":
    """Return a stored ranking and the calls behind it.

    Raises:
        NotFound: If there is no ranking of this id.
    """
    from podium_service.store.history.reader import HistoryReader

    past = await HistoryReader(store).read_past(ranking_id)
    if past is None:
        shown = options.store_shown(store_url)
        raise NotFound(f"no ranking {ranking_id!r} in {shown}: see --store, PODIUM_STORE")
    return past


async def _prune(store: "SQLStore", seconds: float) -> dict[str, int]:
    return await store.prune(seconds) | await store.quotas.prune(seconds)
