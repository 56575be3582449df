"""`podium explain`: ask a judge to put a stored ranking into words."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.cli.commands.store import read_replay

if TYPE_CHECKING:
    from podium_service.evaluation.stored.explain import Words
    from podium_service.store.store import SQLStore


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
    from podium_service.evaluation.stored.explain import explain_calls
    from podium_service.judges.registry import JudgeRegistry
    from podium_service.telemetry.metrics import Metrics

    options.configure_logs("error")
    options.require_store(store)

    async def run(opened: "SQLStore") -> list["Words"]:
        past = await read_replay(opened, ranking_id, store)
        metrics = Metrics()
        async with aclosing(JudgeRegistry(config, metrics)) as judges:
            return await explain_calls(judges, metrics, past, judge, opened.quotas)

    words = options.use_store(store, run)
    if as_json:
        options.print_json(words)
    else:
        print_words(Console(), words)
