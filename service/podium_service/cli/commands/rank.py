"""`podium rank`: rank the groups of a file, in this process or by a running service."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium_service.cli import options

if TYPE_CHECKING:  # slow to load
    from podium_service.schemas import BatchLine

GROUPS_IN_FLIGHT = 64


def rank_command(
    file: Annotated[
        Path,
        typer.Argument(help="A group (JSON), or many (a list, or one a line); - reads stdin."),
    ],
    judge: Annotated[
        str | None, typer.Option(help="The judge of every group, also of those that name another.")
    ] = None,
    deadline_s: options.DeadlineS = 120.0,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    service: options.ServiceURL = None,
    api_key: options.APIKeyText = None,
    as_json: options.AsJSON = False,
    log_level: options.LogLevel = "error",
) -> None:
    """Rank the groups of FILE, in this process or by --service.

    The exit status is 1 if a group could not be ranked.
    """
    from rich.console import Console

    from podium_service.cli.display.rankings import lines_view
    from podium_service.cli.remote import rank_remotely
    from podium_service.evaluation.labelled_groups import read_groups

    options.configure_logs(log_level)
    options.require_deadline(deadline_s)
    groups = [
        group | {"judge": judge} if judge and isinstance(group, dict) else group
        for group in read_groups(file)
    ]

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
    if any(line.problem for line in lines):
        raise typer.Exit(1)


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
