"""`podium init`: a commented judges file for a provider, and whether its judge answers."""

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

# In the names of models that a server lists and that write no texts.
_NO_CHAT = re.compile(r"embed|rerank|whisper|(^|[-_/])(bge|tts|gte|e5)[-_]", re.IGNORECASE)


def init_command(
    provider: Annotated[
        str | None,
        typer.Argument(
            help="openai, anthropic, gemini, azure, openrouter, vllm, llama.cpp, ollama or "
            "litellm; unless given, the one whose key is in the environment."
        ),
    ] = None,
    file: Annotated[Path, typer.Option(help="The judges file to write.")] = Path("judges.yaml"),
    model: Annotated[
        str | None, typer.Option(help="The model; else a common one, or what a server serves.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The URL, where the provider's usual one does not serve.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
) -> None:
    """Write a commented judges file for PROVIDER, and see whether its judge answers.

    The exit status is 1 if the judge does not answer, or does not list the model; the file stays.
    """
    from podium_service.judges.settings.providers import PROVIDERS, write_judges_file

    options.configure_logs("error")
    name = provider or _find_provider()
    if name not in PROVIDERS:
        raise ConfigError(f"{name}: is no provider: use one of {', '.join(PROVIDERS)}")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists: give --force to replace it, or --file for another one")
    chosen = PROVIDERS[name]
    url = base_url or chosen.base_url
    _require_url(url)
    if model is None and chosen.is_local:
        model = asyncio.run(_served_model(url, chosen.key))
    model = model or chosen.model
    try:
        file.write_text(write_judges_file(name, chosen, url, model), "utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error}") from error
    typer.echo(f"{file} has the judge main at {name}.")
    _check(file, chosen.key, model)


def _require_url(url: str) -> None:
    """Raise ConfigError if no judge can be asked at a URL, which is not shown."""
    from pydantic import ValidationError

    from podium_service.judges.settings import LLMJudge

    try:
        LLMJudge.model_validate({"model": "any", "base_urls": [url]})
    except ValidationError as error:
        rule = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--base-url: {rule}") from error


def _check(file: Path, key: str | None, model: str) -> None:
    """Show whether the judge answers; exit with status 1 if it does not, or has no model yet."""
    from rich.console import Console

    from podium_service.cli.commands.judges import describe_judges, is_well
    from podium_service.cli.display.judges import judges_table

    podium = options.podium_command()
    if key and not os.environ.get(key):
        typer.echo(
            f"The environment variable {key} is not set: put the key into it, then run "
            f"{podium} judges --config {file}",
            err=True,
        )
        raise typer.Exit(1)
    judges = asyncio.run(describe_judges(file))
    Console().print(judges_table(judges))
    if not all(map(is_well, judges)):
        raise typer.Exit(1)
    if model.startswith("YOUR-"):
        typer.echo(f"{file}: write the model's name in the place of {model}", err=True)
        raise typer.Exit(1)
    typer.echo(f"Next: {podium} rank GROUPS.jsonl --config {file}")


def _find_provider() -> str:
    """Return the one provider whose key is in the environment.

    Raises:
        ConfigError: If there is none, or several.
    """
    from podium_service.judges.settings.providers import PROVIDERS

    found = [name for name, each in PROVIDERS.items() if each.key and os.environ.get(each.key)]
    if len(found) == 1:
        return found[0]
    why = f"the keys of {' and '.join(found)} are set" if found else "no provider's key is set"
    raise ConfigError(f"name a provider, because {why}: {', '.join(PROVIDERS)}")


async def _served_model(base_url: str, key: str | None) -> str | None:
    """Return the first model that a server lists and that writes; None if there is none."""
    from contextlib import aclosing

    from podium_service.errors import JudgeError
    from podium_service.judges.endpoint.dialects.choice import open_dialect
    from podium_service.judges.endpoint.endpoint import Endpoint
    from podium_service.judges.endpoint.errors import ContextOverflow, ParameterRejected
    from podium_service.judges.settings import LLMJudge
    from podium_service.judges.settings.secrets import read_key

    settings = {"model": "any", "base_urls": [base_url]}
    judge = LLMJudge.model_validate(settings | ({"api_key_env": key} if read_key(key) else {}))
    url = str(judge.base_urls[0])
    async with aclosing(Endpoint(url, open_dialect(judge, url))) as endpoint:
        try:
            listed = await endpoint.models()
        except (JudgeError, ParameterRejected, ContextOverflow):
            return None
    names = [str(each["id"]) for each in listed if each.get("id")]
    return next((each for each in names if not _NO_CHAT.search(each)), None)
