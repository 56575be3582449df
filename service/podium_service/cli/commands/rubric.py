"""`podium rubric suggest`: a judge drafts criteria, and a person edits them."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError


def suggest_command(
    file: Annotated[Path, typer.Argument(help="Groups as `podium rank` takes them; or -.")],
    judge: Annotated[
        str | None, typer.Option(help="The LLM judge that drafts; the default judge unless set.")
    ] = None,
    groups: Annotated[int, typer.Option(min=1, help="Read so many groups of FILE.")] = 3,
    out: Annotated[Path | None, typer.Option(help="A new file for the draft.")] = None,
    cache: Annotated[Path, typer.Option(help="The folder that keeps drafts.")] = Path("rubrics"),
    config: options.ConfigPath = None,
    as_json: options.AsJSON = False,
) -> None:
    """Draft criteria from a few groups, for a person to edit and put under `rubric:`.

    A draft is kept in the cache, and a second request for the same draft is not paid.
    """
    from podium_service.evaluation.labelled_groups import read_requests
    from podium_service.evaluation.rubric import Draft, suggest
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.judges.settings import LLMJudge
    from podium_service.telemetry.metrics import Metrics

    options.configure_logs("error")
    if out and out.exists():  # perhaps edited by now
        raise ConfigError(f"--out {out}: is there already: name a new file")
    requests = read_requests(file, groups)

    async def run() -> tuple[Draft, str]:
        metrics = Metrics()
        async with aclosing(JudgeRegistry(config, metrics)) as judges:
            name = judges.roster.chain(judge)[0]
            settings = judges.roster.config.judges[name]
            if not isinstance(settings, LLMJudge):
                raise ConfigError(f"--judge {name}: is no LLM ({settings.kind}) and cannot draft")
            return await suggest(name, settings, metrics, requests, cache), name

    draft, asked = asyncio.run(run())
    if out:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(draft.rubric, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error
    if as_json:
        criteria = [line.removeprefix("- ") for line in draft.rubric.splitlines()]
        content = {"rubric": draft.rubric, "criteria": criteria, "key": draft.content_key}
        paid = {"judge": asked, "cached": draft.cached, "tokens": draft.tokens}
        options.print_json(content | paid)
    else:
        typer.echo(draft.rubric, nl=False)
        cost = "from the cache" if draft.cached else f"{draft.tokens} tokens"
        typer.echo(f"a draft by {asked}, {cost}: read it, edit it", err=True)
