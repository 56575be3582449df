"""`podium rubric suggest`: a judge drafts criteria, and a person edits them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

if TYPE_CHECKING:  # the judges' client is slow to load
    from podium_service.evaluation.rubric import Draft
    from podium_service.schemas import RankRequest


def suggest_command(
    file: Annotated[Path, typer.Argument(help="Groups as `podium rank` takes them; or -.")],
    judge: Annotated[str, typer.Option(help="The LLM judge that drafts.")],
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

    options.configure_logs("error")
    if out and out.exists():  # perhaps edited by now
        raise ConfigError(f"--out {out}: is there already: name a new file")
    requests = read_requests(file, groups)
    draft = asyncio.run(_suggest(config, judge, requests, cache))
    if out:
        _write(out, draft.rubric)
    if as_json:
        fields = {"rubric": draft.rubric, "criteria": draft.criteria, "key": draft.content_key}
        options.print_json(
            {**fields, "judge": judge, "cached": draft.cached, "tokens": draft.tokens}
        )
    else:
        typer.echo(draft.rubric, nl=False)
        paid = "from the cache" if draft.cached else f"{draft.tokens} tokens"
        typer.echo(f"a draft by {judge}, {paid}: read it, edit it", err=True)


async def _suggest(
    config: Path | None, name: str, requests: "list[RankRequest]", cache: Path
) -> "Draft":
    from podium_service.evaluation.rubric import Drafter, suggest
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.judges.settings import LLMJudge
    from podium_service.telemetry.metrics import Metrics

    metrics = Metrics()
    judges = JudgeRegistry(config, metrics)
    try:
        judges.roster.chain(name)
        judge = judges.roster.config.judges[name]
        if not isinstance(judge, LLMJudge):
            raise ConfigError(f"--judge {name}: is no LLM ({judge.kind}) and cannot draft")
        drafter = Drafter(name, judge, metrics)
        try:
            return await suggest(drafter, requests, cache)
        finally:
            await drafter.aclose()
    finally:
        await judges.aclose()


def _write(out: Path, rubric: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(rubric, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error
