"""`podium export`: pages as files, which a browser opens without a service."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError, NotFound

if TYPE_CHECKING:  # slow to load
    from podium_service.pages.bundle import ExportedGroup
    from podium_service.schemas.history import RankingSummary, RunDetail
    from podium_service.store.history.reader import HistoryReader
    from podium_service.store.store import SQLStore

_PAGE = 100


def export_command(
    name: Annotated[
        str, typer.Argument(metavar="RUN_OR_RANKING", help="A run, or the id of a ranking.")
    ],
    html: Annotated[
        Path, typer.Option("--html", file_okay=False, help="The folder to write; made if missing.")
    ],
    store: options.StoreURL = options.DEFAULT_STORE,
    limit: Annotated[
        int, typer.Option(min=1, help="The most groups of a run, the last ones.")
    ] = 500,
) -> None:
    """Write a run or a group as pages into a folder; open its index.html.

    The files need no network. They hold the texts of the groups: give them only to people who may
    read those.
    """
    options.configure_logs("error")
    options.require_store(store)
    if html.exists() and any(html.iterdir()) and not (html / "index.html").exists():
        raise ConfigError(f"--html {html}: the folder holds other files: name a new one")
    files = options.use_store(store, lambda opened: _make(opened, name, limit))
    for path, content in files.items():
        (html / path).parent.mkdir(parents=True, exist_ok=True)
        (html / path).write_bytes(content)
    typer.echo(str(html / "index.html"))


async def _make(store: "SQLStore", name: str, limit: int) -> dict[str, bytes]:
    """Return the content of each file.

    Raises:
        NotFound: If there is neither a run nor a ranking of this name.
    """
    from podium_service.pages.bundle import bundle_group, bundle_run
    from podium_service.store.history.reader import HistoryReader

    reader = HistoryReader(store)
    if (run := await reader.read_run(name)) is not None:
        summaries = await _list_groups(reader, run, limit)
        groups = [group for each in summaries if (group := await _read(store, each.ask))]
        return bundle_run(run, groups, await _read_later(store, groups))
    if (only := await _read(store, name)) is not None:
        return bundle_group(only, await _read_later(store, [only]))
    raise NotFound(f"no run and no ranking {name[:64]!r} in the store: see --store, PODIUM_STORE")


async def _list_groups(
    reader: "HistoryReader", run: "RunDetail", limit: int
) -> "list[RankingSummary]":
    from podium_service.store.history.filters import RankingFilters

    found: list[RankingSummary] = []
    cursor = None
    while len(found) < limit:
        some = min(_PAGE, limit - len(found))
        page = await reader.list_rankings(RankingFilters(run=run.summary.run), cursor, some)
        found += page.rankings
        cursor = page.next
        if cursor is None:
            break
    return found


async def _read_later(
    store: "SQLStore", groups: "Sequence[ExportedGroup]"
) -> "list[ExportedGroup]":
    """Return the judgments by which people had these groups ranked again."""
    asks = [judged.summary.ask for group in groups for judged in group.again.judged]
    return [later for ask in asks if (later := await _read(store, ask))]


async def _read(store: "SQLStore", ranking_id: str) -> "ExportedGroup | None":
    from podium_service.http.ui.aftermath import read_again, read_people
    from podium_service.pages.bundle import ExportedGroup
    from podium_service.store.history.reader import HistoryReader
    from podium_service.store.people.gold import GoldOrders
    from podium_service.store.people.notes import Notes

    reader = HistoryReader(store)
    detail = await reader.read_ranking(ranking_id)
    if detail is None:
        return None
    return ExportedGroup(
        detail,
        await reader.read_calls(ranking_id) or [],
        await read_again(reader, detail),
        await read_people(GoldOrders(store), Notes(store), detail),
    )
