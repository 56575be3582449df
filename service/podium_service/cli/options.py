"""The options that several subcommands share, and the checks and output that go with them."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from podium_service.errors import ConfigError

if TYPE_CHECKING:  # slow to load
    from podium_service.store.store import SQLStore

_T = TypeVar("_T")

DEFAULT_STORE = "podium.db"
DEFAULT_CONCURRENCY = 16
DEFAULT_DEADLINE_S = 600.0

ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", envvar="PODIUM_CONFIG", help="The judges file (YAML)."),
]
StoreURL = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="PODIUM_STORE",
        help="The store: a file, sqlite:///FILE or postgresql://...",
    ),
]
APIKeyText = Annotated[
    str | None,
    typer.Option("--api-key", envvar="PODIUM_API_KEY", help="Better set in the environment."),
]
ServiceURL = Annotated[
    str | None,
    typer.Option("--service", envvar="PODIUM_URL", help="The URL of a running service to ask."),
]
Level = Literal["debug", "info", "warning", "error"]
LogLevel = Annotated[
    Level,
    typer.Option(envvar="PODIUM_LOG_LEVEL", help="Least level of the log on stderr."),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Groups that are ranked at the same time.")]
DeadlineS = Annotated[float, typer.Option(help="Seconds for each group that names no deadline.")]


def configure_logs(level: Level = "error") -> None:
    """Write the log of this process to stderr, from a level on."""
    from podium_service.telemetry import logs

    logs.configure(level)


def use_store(url: str, use: "Callable[[SQLStore], Awaitable[_T]]") -> _T:
    """Open a store, await one use of it, and close it."""
    from podium_service.store.store import open_store

    async def opened() -> _T:
        async with open_store(url) as store:
            return await use(store)

    return asyncio.run(opened())


def require_deadline(deadline_s: float) -> None:
    """Raise ConfigError for a deadline that no group may have."""
    from podium_service.schemas import MAX_DEADLINE_S

    if not 0 < deadline_s <= MAX_DEADLINE_S:
        raise ConfigError(
            f"--deadline-s {deadline_s:g}: must be more than 0 and at most {MAX_DEADLINE_S:g} s"
        )


def require_store(url: str) -> None:
    """Raise ConfigError unless there is a store: a command that only reads must not create one."""
    from podium_service.store.database import database

    database.require_store(url)


def store_shown(url: str) -> str:
    """Return the store's URL as it was given, without its password."""
    import sqlalchemy as sa

    from podium_service.store.database.engine import without_secrets

    try:
        return without_secrets(sa.make_url(url))
    except (sa.exc.ArgumentError, ValueError):  # a path, or a fault that opening the store reports
        return url


def print_json(data: Any) -> None:
    """Print a value as indented JSON."""
    import orjson

    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def podium_command() -> str:
    """Return how to call `podium` of this environment from the current folder."""
    script = Path(sys.executable).with_name("podium")
    if not script.exists() or shutil.which("podium") == str(script):
        return "podium"
    return os.path.relpath(script)


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr for more than one group, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
    shown = total > 1 and console.is_terminal
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)
