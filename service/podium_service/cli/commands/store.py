"""`podium replay` shows a stored ranking; `podium store prune` deletes what is old."""

import asyncio
import re
from typing import Annotated, Any

import typer

from podium_service.cli.options import (
    DEFAULT_STORE,
    AsJSON,
    StoreURL,
    print_json,
    require_store,
    store_shown,
)

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

store_app = typer.Typer(help="Care for the store.", no_args_is_help=True)


def replay_command(
    ranking_id: Annotated[
        str, typer.Argument(help="The `id` of a ranking, rk_..., as `podium rank` prints it.")
    ],
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Print a past ranking with the exact prompts and replies behind it."""
    from rich.console import Console

    from podium_service.cli.display.replay import print_replay
    from podium_service.telemetry import logs

    logs.configure("error")
    require_store(store)
    ranking, calls = asyncio.run(_replay(store, ranking_id))
    if as_json:
        print_json({**ranking, "calls": calls})
    else:
        print_replay(Console(), ranking, calls)


@store_app.command("prune")
def prune_command(
    older_than: Annotated[str, typer.Option(help="An age: 90s, 15m, 12h, 30d, 8w.")],
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Delete rankings and judge calls older than an age; they are paid again if asked again.

    Windows and spending periods of quotas are deleted, too, a day after they ended or later.
    """
    from podium_service.telemetry import logs

    logs.configure("error")
    seconds = parse_age(older_than)
    deleted = asyncio.run(_prune(store, seconds))
    if as_json:
        print_json(deleted)
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


async def _replay(store_url: str, ranking_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from podium_service.errors import NotFound
    from podium_service.store.store import open_store

    async with open_store(store_url) as store:
        ranking = await store.read_ranking(ranking_id)
        if ranking is None:
            shown = store_shown(store_url)
            raise NotFound(f"no ranking {ranking_id!r} in {shown}: see --store, PODIUM_STORE")
        calls = [await store.read_calls(key) for key in ranking["call_keys"]]
        return ranking, [call for some in calls for call in some]


async def _prune(store_url: str, seconds: float) -> dict[str, int]:
    from podium_service.store.store import open_store

    async with open_store(store_url) as store:
        deleted = await store.prune(seconds)
        return deleted | await store.quotas.prune(seconds)
