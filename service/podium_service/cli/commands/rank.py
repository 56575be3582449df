"""`podium rank`: rank the groups of a file, in this process or by a running service.

`podium convert` writes the groups that `podium rank` would rank.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium_service.cli import options

if TYPE_CHECKING:  # slow to load
    from podium.formats import Reading
    from podium_service.schemas import BatchLine

GROUPS_IN_FLIGHT = 64
_FAULTS_SHOWN = 5

AnyFile = Annotated[
    Path,
    typer.Argument(
        help="JSON, JSON Lines, CSV or Parquet, in any form that docs/formats.md lists; "
        "- reads stdin."
    ),
]
FromFormat = Annotated[
    str,
    typer.Option("--from", help="The format of the rows, or auto; an unknown one lists all."),
]
GroupBy = Annotated[
    str | None,
    typer.Option(help="The field that the rows of one group share; else ids or prompts tell."),
]


def rank_command(
    file: AnyFile,
    judge: Annotated[
        str | None, typer.Option(help="The judge of every group, also of those that name another.")
    ] = None,
    from_format: FromFormat = "auto",
    group_by: GroupBy = None,
    deadline_s: options.DeadlineS = 120.0,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    service: options.ServiceURL = None,
    api_key: options.APIKeyText = None,
    as_json: options.AsJSON = False,
    log_level: options.LogLevel = "error",
) -> None:
    """Rank the groups of FILE, in this process or by --service.

    The exit status is 1 if a group could not be ranked, or a row could not be read.
    """
    from rich.console import Console

    from podium_service.cli.display.rankings import lines_view
    from podium_service.cli.remote import rank_remotely
    from podium_service.evaluation.labelled_groups import read_groups

    options.configure_logs(log_level)
    options.require_deadline(deadline_s)
    reading = read_groups(file, from_format, group_by)
    _say_what_was_read(file, reading)
    groups = [group | {"judge": judge} if judge else group for group in reading.groups]

    with options.progress("ranking", len(groups)) as advance:
        if service:
            lines = rank_remotely(service, api_key, groups, deadline_s, advance)
        else:
            lines = asyncio.run(_rank_here(config, store, groups, deadline_s, advance))
    if as_json:
        for line in lines:
            typer.echo(line.to_json())
    else:
        Console().print(lines_view(lines))
        if service:
            _say_where_pages_are(service, lines)
    if reading.faults or any(line.problem for line in lines):
        raise typer.Exit(1)


def _say_where_pages_are(service: str, lines: "list[BatchLine]") -> None:
    """Print the address of the page of a ranking; of all groups if there are several, or none."""
    from podium.connections import page_url, parse_url

    rankings = [line.ranking.id for line in lines if line.ranking]
    ranking = rankings[0] if len(rankings) == len(lines) == 1 else None
    typer.echo(f"See {page_url(parse_url(service), ranking=ranking)}")


def convert_command(
    file: AnyFile, from_format: FromFormat = "auto", group_by: GroupBy = None
) -> None:
    """Write the groups of FILE to stdout as Podium's own, one a line.

    The exit status is 1 if a row could not be read.
    """
    from podium_service.evaluation.labelled_groups import read_groups

    reading = read_groups(file, from_format, group_by)
    _say_what_was_read(file, reading)
    for group in reading.groups:
        typer.echo(json.dumps(group, ensure_ascii=False, default=str))
    if reading.faults:
        raise typer.Exit(1)


def _say_what_was_read(file: Path, reading: "Reading") -> None:
    """Say on stderr what a file was taken for, and which rows are left out."""
    from podium_service.cli.display.text import visible

    if not reading.is_plain:
        typer.echo(visible(f"{file}: {reading.summary}"), err=True)
    for fault in reading.faults[:_FAULTS_SHOWN]:
        typer.echo(visible(f"podium: left out: {fault}"), err=True)
    more = len(reading.faults) - _FAULTS_SHOWN
    if more > 0:
        typer.echo(f"podium: left out: {more} rows more", err=True)


async def _rank_here(
    config: Path | None,
    store: str,
    groups: list[Any],
    deadline_s: float,
    advance: Callable[[], None],
) -> "list[BatchLine]":
    from podium_service.http.batch import rank_line
    from podium_service.http.service import open_service

    in_flight = asyncio.Semaphore(GROUPS_IN_FLIGHT)
    async with open_service(config, store) as service:

        async def rank(index: int, group: Any) -> "BatchLine":
            async with in_flight:
                line = await rank_line(service, index, group, deadline_s)
            advance()
            return line

        return await asyncio.gather(*(rank(i, group) for i, group in enumerate(groups)))
