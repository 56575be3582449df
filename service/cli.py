"""The `podium` command: each subcommand reads its options, does one thing and shows the result."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console, RenderableType

from service import __version__, display, logs
from service.batch import rank_line
from service.commands import (
    DEFAULT_STORE,
    AsJSON,
    ConfigPath,
    StoreURL,
    print_json,
    progress,
    require_deadline,
)
from service.commands.calibrate import calibrate_command
from service.commands.compare import compare_command
from service.commands.keys import keys_app
from service.commands.rubric import suggest_command
from service.connection import MAX_CONNECTIONS
from service.errors import NotFound, PodiumError
from service.groups_file import read_groups
from service.judges import Judges
from service.metrics import Metrics
from service.remote import judges_remotely, rank_remotely
from service.schemas import BatchLine
from service.server import Serving, event_loop_factory, open_service, serve
from service.store import open_store
from service.workers import serve_by_workers
from trainer_client.errors import RankError

GROUPS_IN_FLIGHT = 64
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

app = typer.Typer(
    help="Podium ranks groups of agent trajectories with a judge and returns rewards.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
store_app = typer.Typer(help="Care for the store.", no_args_is_help=True)
app.add_typer(store_app, name="store")
rubric_app = typer.Typer(help="Write rubrics.", no_args_is_help=True)
app.add_typer(rubric_app, name="rubric")
app.add_typer(keys_app, name="keys")
app.command("calibrate")(calibrate_command)
app.command("compare")(compare_command)
rubric_app.command("suggest")(suggest_command)

ServiceURL = Annotated[
    str | None,
    typer.Option("--service", envvar="PODIUM_URL", help="Ask the service at this URL instead."),
]
APIKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="PODIUM_API_KEY", help="Better given by the environment."),
]
Level = Literal["debug", "info", "warning", "error"]
LogLevel = Annotated[Level, typer.Option(envvar="PODIUM_LOG_LEVEL")]


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


@app.command("serve")
def serve_command(
    host: Annotated[str, typer.Option(envvar="PODIUM_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PODIUM_PORT", help="0 takes a free one.")] = 8000,
    config: ConfigPath = None,
    store: StoreURL = DEFAULT_STORE,
    api_key: APIKey = None,
    drain_s: Annotated[
        float,
        typer.Option(envvar="PODIUM_DRAIN_S", help="From SIGTERM to the stop; /readyz is 503."),
    ] = 2.0,
    workers: Annotated[
        int, typer.Option(envvar="PODIUM_WORKERS", min=1, help="Processes that share the port.")
    ] = 1,
    max_connections: Annotated[
        int, typer.Option(envvar="PODIUM_MAX_CONNECTIONS", min=1, help="Open, to each process.")
    ] = MAX_CONNECTIONS,
    log_level: LogLevel = "info",
) -> None:
    """Serve POST /rank. Beyond loopback it wants an API key: PODIUM_API_KEY, or podium keys."""
    logs.configure(log_level)
    serving = Serving(
        host=host,
        port=port,
        config=config,
        store_url=store,
        api_key=(api_key or "").strip() or None,
        drain_s=drain_s,
        max_connections=max_connections,
        log_level=log_level,
    )
    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        runner.run(serve(serving) if workers == 1 else serve_by_workers(serving, workers))


@app.command("rank")
def rank_command(
    file: Annotated[Path, typer.Argument(help="A group (JSON) or many (a list, or JSONL); or -.")],
    judge: Annotated[str | None, typer.Option(help="For the groups that name none.")] = None,
    deadline_s: Annotated[float, typer.Option(help="For the groups that name none.")] = 120.0,
    config: ConfigPath = None,
    store: StoreURL = DEFAULT_STORE,
    service: ServiceURL = None,
    api_key: APIKey = None,
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
    api_key: APIKey = None,
    as_json: AsJSON = False,
) -> None:
    """Show the judges configured, and whether each one answers. Exit status 1 if one does not."""
    logs.configure("error")
    judges = judges_remotely(service, api_key) if service else asyncio.run(_judges_here(config))
    _show(judges, display.judges_table(judges), as_json)
    if not all(judge["answers"] for judge in judges):
        raise typer.Exit(1)


@app.command("replay")
def replay_command(
    ranking_id: Annotated[str, typer.Argument(help="As the ranking's `id` says: rk_...")],
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Print a past ranking with the exact prompts and replies behind it."""
    logs.configure("error")
    ranking, calls = asyncio.run(_replay(store, ranking_id))
    if as_json:
        print_json({**ranking, "calls": calls})
    else:
        display.print_replay(Console(), ranking, calls)


@store_app.command("prune")
def prune_command(
    older_than: Annotated[str, typer.Option(help="An age: 90s, 15m, 12h, 30d, 8w.")],
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Delete rankings and judge calls older than an age; what is needed again is paid again."""
    logs.configure("error")
    seconds = parse_age(older_than)
    deleted = asyncio.run(_prune(store, seconds))
    _show(deleted, ", ".join(f"{count} {table}" for table, count in deleted.items()), as_json)


def parse_age(text: str) -> float:
    """Seconds of an age such as `30d`.

    Raises:
        typer.BadParameter: If it is none.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", text.strip())
    if not match:
        raise typer.BadParameter(f"{text!r} is no age: write a number and s, m, h, d or w")
    return float(match[1]) * _UNITS_S[match[2]]


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
    judges = Judges(config, Metrics())
    try:
        return await judges.report()
    finally:
        await judges.aclose()


async def _replay(store_url: str, ranking_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    async with open_store(store_url) as store:
        ranking = await store.ranking(ranking_id)
        if ranking is None:
            raise NotFound(f"no ranking {ranking_id!r} in {store_url}: see --store, PODIUM_STORE")
        calls = [await store.calls(key) for key in ranking["call_keys"]]
        return ranking, [call for some in calls for call in some]


async def _prune(store_url: str, seconds: float) -> dict[str, int]:
    async with open_store(store_url) as store:
        return await store.prune(seconds)


def _show(data: Any, view: RenderableType, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        Console().print(view)


def _fail(detail: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"podium: {detail}", style="red", markup=False)
    sys.exit(1)
