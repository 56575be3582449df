"""Subcommands of `podium` that are more than a few lines; `cli` registers them.

A command reads its options, does one thing and shows the result. What several need is here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from podium_service.errors import ConfigError
from podium_service.schemas import MAX_DEADLINE_S
from podium_service.store.database.database import without_secrets

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
        "--store", envvar="PODIUM_STORE", help="A file's path, sqlite:///FILE or postgresql://..."
    ),
]
APIKeyText = Annotated[
    str | None,
    typer.Option("--api-key", envvar="PODIUM_API_KEY", help="Better given by the environment."),
]
Level = Literal["debug", "info", "warning", "error"]
LogLevel = Annotated[
    Level, typer.Option(envvar="PODIUM_LOG_LEVEL", help="Of the lines of JSON on stderr.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Groups in flight.")]
DeadlineS = Annotated[
    float, typer.Option("--deadline-s", help="Of a group; for the groups that name none.")
]


def require_deadline(deadline_s: float) -> None:
    """Raises ConfigError for a deadline that no group may have."""
    if not 0 < deadline_s <= MAX_DEADLINE_S:
        raise ConfigError(f"--deadline-s {deadline_s:g}: a deadline is over 0, at most 3600 s")


def require_store(url: str) -> None:
    """Raises ConfigError for a SQLite file that is not there: who only looks makes none."""
    file = _sqlite_file(url)
    if file and not file.exists():
        raise ConfigError(f"the store {file} does not exist: see --store, PODIUM_STORE")


def store_shown(url: str) -> str:
    """The store's URL as it was given, but for a password."""
    parsed = _parsed(url)
    return without_secrets(parsed) if parsed else url


def _sqlite_file(url: str) -> Path | None:
    parsed = _parsed(url if "://" in url else f"sqlite:///{url}")
    if parsed is None or parsed.get_backend_name() != "sqlite":
        return None
    name = parsed.database or ":memory:"
    return None if name == ":memory:" or name.startswith("file:") else Path(name)


def _parsed(url: str) -> sa.URL | None:
    """None for a path, and for what is no URL: opening it says so."""
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        return None


def print_json(data: Any) -> None:
    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr for more than one group, if somebody is watching."""
    console = Console(stderr=True)
    columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
    shown = total > 1 and console.is_terminal
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)
