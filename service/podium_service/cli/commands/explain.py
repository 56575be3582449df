"""`podium explain`: ask a judge to put a stored ranking into words."""

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.cli.commands.store import read_replay
from podium_service.errors import ConfigError

if TYPE_CHECKING:
    from podium_service.evaluation.stored.explain import Words


def explain_command(
    ranking_id: Annotated[
        str, typer.Argument(help="The `id` of a ranking, rk_..., as `podium rank` prints it.")
    ],
    judge: Annotated[
        str | None, typer.Option(help="An LLM judge; the one that ranked unless set.")
    ] = None,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Ask a judge why it ranked a group as it did; this is paid, and changes no reward."""
    from rich.console import Console

    from podium_service.cli.display.rankings import print_words
    from podium_service.evaluation.stored.explain import choose_calls, explain
    from podium_service.judges.llm_judge import EndpointJudge
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.judges.settings import LLMJudge
    from podium_service.telemetry.metrics import Metrics

    options.configure_logs("error")
    options.require_store(store)
    _, calls = options.use_store(store, lambda opened: read_replay(opened, ranking_id, store))
    chosen = choose_calls(calls)

    async def run() -> list["Words"]:
        metrics = Metrics()
        async with aclosing(JudgeRegistry(config, metrics)) as judges:
            name = judge or chosen[0]["judge"]
            judges.roster.chain(name)
            settings = judges.roster.config.judges[name]
            if not isinstance(settings, LLMJudge):
                raise ConfigError(f"--judge {name}: is no LLM ({settings.kind}): name one")
            prose = settings.model_copy(update={"response_format": "text"})
            async with aclosing(EndpointJudge(name, prose, metrics)) as asked:
                return [await explain(asked, call) for call in chosen]

    words = asyncio.run(run())
    if as_json:
        options.print_json(words)
    else:
        print_words(Console(), words)
