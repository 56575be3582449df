"""`podium judges`: the judges that are configured, and whether each one answers."""

import asyncio
from pathlib import Path
from typing import Any

import typer

from podium_service.cli.options import APIKeyText, AsJSON, ConfigPath, ServiceURL, print_json


def judges_command(
    config: ConfigPath = None,
    service: ServiceURL = None,
    api_key: APIKeyText = None,
    as_json: AsJSON = False,
) -> None:
    """Show the configured judges, and whether each one answers.

    The exit status is 1 if one of them does not answer.
    """
    from rich.console import Console

    from podium_service.cli.display.judges import judges_table
    from podium_service.cli.remote import judges_remotely
    from podium_service.telemetry import logs

    logs.configure("error")
    judges = judges_remotely(service, api_key) if service else asyncio.run(_judges_here(config))
    if as_json:
        print_json(judges)
    else:
        Console().print(judges_table(judges))
    if not all(judge["answers"] for judge in judges):
        raise typer.Exit(1)


async def _judges_here(config: Path | None) -> list[dict[str, Any]]:
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.telemetry.metrics import Metrics

    judges = JudgeRegistry(config, Metrics())
    try:
        return await judges.describe()
    finally:
        await judges.aclose()
