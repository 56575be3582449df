"""`podium judges`: the judges that are configured, and whether each one answers."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import typer

from podium_service.cli import options


def judges_command(
    config: options.ConfigPath = None,
    service: options.ServiceURL = None,
    api_key: options.APIKeyText = None,
    as_json: options.AsJSON = False,
) -> None:
    """Show the configured judges, and whether each one answers.

    The exit status is 1 if one of them does not answer, or an endpoint does not list its model.
    """
    from rich.console import Console

    from podium_service.cli.display.judges import judges_table
    from podium_service.cli.remote import judges_remotely

    options.configure_logs("error")
    judges = judges_remotely(service, api_key) if service else asyncio.run(describe_judges(config))
    if as_json:
        options.print_json(judges)
    else:
        Console().print(judges_table(judges))
    if not all(map(is_well, judges)):
        raise typer.Exit(1)


def is_well(judge: dict[str, Any]) -> bool:
    """Return whether a judge, as it is listed, answers, and its endpoints list its model."""
    return judge["answers"] and all(each.get("lists_model", True) for each in judge["endpoints"])


async def describe_judges(config: Path | None) -> list[dict[str, Any]]:
    """Return the judges of a judges file as `GET /judges` lists them."""
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.telemetry.metrics import Metrics

    async with aclosing(JudgeRegistry(config, Metrics())) as judges:
        return await judges.describe()
