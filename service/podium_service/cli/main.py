"""The `podium` command: its subcommands, its exit statuses, and its errors in one line.

Nothing here or in `commands` imports a library that is slow to load before a command runs, because
`podium --version` and `podium --help` must answer at once.
"""

import sys
from typing import Annotated

import typer

from podium_service import __version__
from podium_service.cli.commands.admin.keys import keys_app
from podium_service.cli.commands.admin.spend import spend_command
from podium_service.cli.commands.calibrate import calibrate_command
from podium_service.cli.commands.compare import compare_command
from podium_service.cli.commands.estimate import estimate_command
from podium_service.cli.commands.explain import explain_command
from podium_service.cli.commands.init import init_command
from podium_service.cli.commands.judge import judge_app
from podium_service.cli.commands.judges import judges_command
from podium_service.cli.commands.rank import convert_command, rank_command
from podium_service.cli.commands.rubric import suggest_command
from podium_service.cli.commands.serve import serve_command
from podium_service.cli.commands.store import replay_command, store_app
from podium_service.cli.mcp.command import mcp_command
from podium_service.cli.pages.export import export_command
from podium_service.cli.pages.view import view_command
from podium_service.errors import PodiumError

app = typer.Typer(
    help="Rank groups of agent trajectories with a judge, and turn the ranking into rewards.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("serve")(serve_command)
app.command("rank")(rank_command)
app.command("convert")(convert_command)
app.command("init")(init_command)
app.command("judges")(judges_command)
app.command("mcp")(mcp_command)
app.command("estimate")(estimate_command)
app.command("replay")(replay_command)
app.command("explain")(explain_command)
app.command("view")(view_command)
app.command("export")(export_command)
app.command("calibrate")(calibrate_command)
app.command("compare")(compare_command)
app.command("spend")(spend_command)
rubric_app = typer.Typer(help="Write rubrics.", no_args_is_help=True)
rubric_app.command("suggest")(suggest_command)
app.add_typer(rubric_app, name="rubric")
app.add_typer(judge_app, name="judge")
app.add_typer(keys_app, name="keys")
app.add_typer(store_app, name="store")


def run() -> None:
    """Run the command line; print a known error as one line on stderr and exit with status 1."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from rich.console import Console

        from podium.errors import RankError
        from podium_service.cli.display.text import literal

        if not isinstance(error, PodiumError | RankError):
            raise
        Console(stderr=True, soft_wrap=True).print(literal(f"podium: {error}", style="red"))
        sys.exit(1)


@app.callback(invoke_without_command=True)
def main(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show_version:
        typer.echo(f"podium {__version__}")
        raise typer.Exit
