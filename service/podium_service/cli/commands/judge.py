"""`podium judge`: a judge on this machine, without a key and without a GPU."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

if TYPE_CHECKING:  # slow to load
    pass

judge_app = typer.Typer(
    help="Run a judge on this machine, without a key and without a GPU.", no_args_is_help=True
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="The folder of the models; podium/judges in the user's cache unless set."
    ),
]


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
    api_key: Annotated[
        str | None,
        typer.Option(envvar="PODIUM_JUDGE_API_KEY", help="Better set in the environment."),
    ] = None,
    log_level: options.LogLevel = "info",
) -> None:
    """Serve a model by an OpenAI-compatible API."""
    from podium_service.http.server.server import require_key_beyond_loopback
    from podium_service.local_judge.api.app import JudgeServer
    from podium_service.local_judge.api.serve import listen, serve_on
    from podium_service.local_judge.llama.cpu import count_cores
    from podium_service.local_judge.llama.model import LlamaModel, LlamaOptions

    options.configure_logs(log_level)
    require_key_beyond_loopback(host, has_key=bool(api_key))
    path, model_id = _find_model(model, folder)
    with listen(host, port) as listener:
        url = f"http://{host}:{listener.getsockname()[1]}/v1"
        settings = LlamaOptions(context_tokens=context, threads=threads or count_cores())
        judge = JudgeServer(LlamaModel(path, settings), model_id, api_key)
        asyncio.run(serve_on(listener, judge, lambda: typer.echo(f"{model_id} at {url}")))


def _find_model(name: str, folder: Path | None) -> tuple[Path, str]:
    """Return the file of a model and its name in requests.

    Raises:
        ConfigError: If it has not been fetched, or is neither a known name nor a file.
    """
    from podium_service.local_judge.models import MODELS, default_folder

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
