"""Labelled groups, files of groups and commands, for the tests of this folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import typer
from typer.testing import CliRunner, Result

from podium_service.evaluation.measures import JudgedGroup, Pass
from tests.service.helpers import group


def judged_group(
    labels: list[float], *passes: Pass, rewards: list[float] | None = None
) -> JudgedGroup:
    return JudgedGroup(labels, rewards or labels, [10] * len(labels), list(passes))


def labelled(*answers: str, labels: list[float], **fields: Any) -> dict[str, Any]:
    return group(*answers, labels={f"t{i}": label for i, label in enumerate(labels)}, **fields)


def write_lines(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


async def run_command(function: Callable[..., None], *arguments: str | Path) -> Result:
    """Run one command in a thread, because it starts an event loop of its own."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(function)
    run = CliRunner(env={"COLUMNS": "240", "PODIUM_STORE": None, "PODIUM_CONFIG": None}).invoke
    return await anyio.to_thread.run_sync(lambda: run(app, list(map(str, arguments))))
