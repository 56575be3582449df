"""`podium compare`: how far judges agree on the same groups, and what each of them costs."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError


def compare_command(
    judges: Annotated[str, typer.Option(help="Two judges or more, separated by commas: A,B.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Groups as `podium rank` takes them; by default those in the store."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=1, help="At most so many groups: the first of the data or newest stored."),
    ] = 100,
    concurrency: options.Concurrency = options.DEFAULT_CONCURRENCY,
    deadline_s: options.DeadlineS = options.DEFAULT_DEADLINE_S,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Rank the same groups with each judge, and show where rewards differ and what they cost.

    Rankings that a judge has made before come from the store and are not paid again.
    """
    from rich.console import Console

    from podium_service.cli.display.evaluation import comparison_view
    from podium_service.evaluation.compare import Comparison, compare
    from podium_service.evaluation.labelled_groups import read_requests
    from podium_service.evaluation.run_judge import JudgeRunner
    from podium_service.evaluation.stored.groups import read_stored_groups
    from podium_service.http.service import open_service

    options.configure_logs("error")
    options.require_deadline(deadline_s)
    names = judge_names(judges)
    if not data:
        options.require_store(store)

    async def run() -> Comparison:
        async with open_service(config, store) as service:
            left_out: dict[str, int] = {}
            if data:
                requests = read_requests(data, limit)
            else:
                requests, left_out = await read_stored_groups(service.store, limit)
            with options.progress("comparing", len(requests) * len(names)) as advance:
                runner = JudgeRunner(service, concurrency, deadline_s, advance)
                return await compare(runner, names, requests, left_out)

    comparison = asyncio.run(run())
    if as_json:
        options.print_json(comparison)
    else:
        Console().print(comparison_view(comparison))


def judge_names(text: str) -> list[str]:
    """Return the names in `A,B`; raise ConfigError unless they are two or more, all different."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"--judges {text!r}: name two different judges or more, as A,B")
    return names
