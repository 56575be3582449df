"""The `podium` command: each subcommand reads its options, does one thing and shows the result."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from podium.errors import RankError
from podium_service import __version__
from podium_service.cli import display
from podium_service.cli.calibrate import calibrate_command
from podium_service.cli.compare import compare_command
from podium_service.cli.keys import keys_app
from podium_service.cli.options import (
    DEFAULT_STORE,
    APIKeyText,
    AsJSON,
    ConfigPath,
    LogLevel,
    StoreURL,
    print_json,
    progress,
    require_deadline,
)
from podium_service.cli.remote import judges_remotely, rank_remotely
from podium_service.cli.rubric import suggest_command
from podium_service.cli.serve import serve_command
from podium_service.cli.store import replay_command, store_app
from podium_service.errors import PodiumError
from podium_service.evaluation.labelled_groups import read_groups
from podium_service.http.batch import rank_line
from podium_service.http.server.server import open_service
from podium_service.judges.registry import JudgeRegistry
from podium_service.schemas import BatchLine
from podium_service.telemetry import logs
from podium_service.telemetry.metrics import Metrics

GROUPS_IN_FLIGHT = 64

app = typer.Typer(
    help="Podium ranks groups of agent trajectories with a judge and returns rewards.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(store_app, name="store")
rubric_app = typer.Typer(help="Write rubrics.", no_args_is_help=True)
app.add_typer(rubric_app, name="rubric")
app.add_typer(keys_app, name="keys")
app.command("serve")(serve_command)
app.command("replay")(replay_command)
app.command("calibrate")(calibrate_command)
app.command("compare")(compare_command)
rubric_app.command("suggest")(suggest_command)

ServiceURL = Annotated[
    str | None,
    typer.Option("--service", envvar="PODIUM_URL", help="Ask the service at this URL instead."),
]


def run() -> None:
    """Entry point: an error we know is one line on stderr and exit status 1."""
    try:
        app()
    except (PodiumError, RankError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version")] = False) -> None:
    if version:
        typer.echo(f"podium {__version__}")
        raise typer.Exit


@app.command("rank")
def rank_command(
    file: Annotated[Path, typer.Argument(help="A group (JSON) or many (a list, or JSONL); or -.")],
    judge: Annotated[str | None, typer.Option(help="For the groups that name none.")] = None,
    deadline_s: Annotated[float, typer.Option(help="For the groups that name none.")] = 120.0,
    config: ConfigPath = None,
    store: StoreURL = DEFAULT_STORE,
    service: ServiceURL = None,
    api_key: APIKeyText = None,
    as_json: AsJSON = False,
    log_level: LogLevel = "error",
) -> None:
    """Rank the groups of FILE, in process or by --service. Exit status 1 if one could not be."""
    logs.configure(log_level)
    require_deadline(deadline_s)
    groups = [_for_judge(group, judge) for group in read_groups(file)]
    with progress("ranking", len(groups)) as advance:
        if service:
            lines = rank_remotely(service, api_key, groups, deadline_s, advance)
        else:
            lines = asyncio.run(_rank_here(config, store, groups, deadline_s, advance))
    if as_json:
        for line in lines:
            typer.echo(line.to_json())
    else:
        Console().print(display.lines_view(lines))
    if any(line.problem for line in lines):
        raise typer.Exit(1)


@app.command("judges")
def judges_command(
    config: ConfigPath = None,
    service: ServiceURL = None,
    api_key: APIKeyText = None,
    as_json: AsJSON = False,
) -> None:
    """Show the judges configured, and whether each one answers. Exit status 1 if one does not."""
    logs.configure("error")
    judges = judges_remotely(service, api_key) if service else asyncio.run(_judges_here(config))
    _show(judges, display.judges_table(judges), as_json)
    if not all(judge["answers"] for judge in judges):
        raise typer.Exit(1)


def _for_judge(group: Any, judge: str | None) -> Any:
    """The group as it came, but for `judge` if it names none itself."""
    if judge and isinstance(group, dict) and group.get("judge") is None:
        return group | {"judge": judge}
    return group


async def _rank_here(
    config: Path | None,
    store: str,
    groups: list[Any],
    deadline_s: float,
    advance: Callable[[], None],
) -> list[BatchLine]:
    places = asyncio.Semaphore(GROUPS_IN_FLIGHT)
    async with open_service(config, store) as service:

        async def rank(index: int, group: Any) -> BatchLine:
            async with places:
                line = await rank_line(service.ranker, index, group, deadline_s)
            advance()
            return line

        return await asyncio.gather(*(rank(i, group) for i, group in enumerate(groups)))


async def _judges_here(config: Path | None) -> list[dict[str, Any]]:
    judges = JudgeRegistry(config, Metrics())
    try:
        return await judges.report()
    finally:
        await judges.aclose()


def _show(data: Any, view: RenderableType, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        Console().print(view)


def _fail(detail: str) -> None:
    Console(stderr=True, soft_wrap=True).print(display.literal(f"podium: {detail}", style="red"))
    sys.exit(1)
