"""`podium calibrate`: measure a judge on labelled groups."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium_service.cli import options
from podium_service.errors import ConfigError

if TYPE_CHECKING:  # slow to load
    from podium_service.evaluation.card import Card

GOLD_NAME = "gold"  # as cards name the groups that people ordered


Data = Annotated[
    Path | None, typer.Option(help="Labelled groups or pairs, one a line (JSONL); or -.")
]
Gold = Annotated[
    bool, typer.Option("--gold", help="Use the groups that people ordered on the store's pages.")
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="Use only so many groups: the first, or the newest orders."),
]
Prompts = Annotated[
    bool,
    typer.Option(
        "--prompts", help="Try the long and the short prompt; the judge's `card` then chooses."
    ),
]


def calibrate_command(
    judge: Annotated[
        str | None, typer.Option(help="A judge of the judges file; its default judge unless set.")
    ] = None,
    data: Data = None,
    gold: Gold = False,
    out: Annotated[Path, typer.Option(help="The folder for JUDGE.json and JUDGE.html.")] = Path(
        "judge-cards"
    ),
    limit: Limit = None,
    prompts: Prompts = False,
    concurrency: options.Concurrency = options.DEFAULT_CONCURRENCY,
    deadline_s: options.DeadlineS = options.DEFAULT_DEADLINE_S,
    config: options.ConfigPath = None,
    store: options.StoreURL = options.DEFAULT_STORE,
    as_json: options.AsJSON = False,
) -> None:
    """Measure a judge on labelled groups, and write its card: JSON and one HTML page.

    With `--prompts` each group is asked under both prompts, and the card is of the better one; a
    judge whose `card` names the JSON file is asked so from then on.

    Each verdict is stored as it comes, so that a second start goes on where the first one stopped.
    The exit status is 1 if no group could be ranked.
    """
    from podium_service.evaluation.calibrate import calibrate, calibrate_prompts
    from podium_service.evaluation.labelled_groups import read_labelled_groups
    from podium_service.evaluation.run_judge import JudgeRunner
    from podium_service.evaluation.stored.gold import read_gold_groups
    from podium_service.http.service import open_service

    options.configure_logs("error")
    options.require_deadline(deadline_s)
    if (data is None) is not gold:
        raise ConfigError("name the groups: either --data FILE, or --gold for those of the store")
    if gold:
        options.require_store(store)
    labelled = read_labelled_groups(data, limit) if data else []

    async def run() -> "Card":
        async with open_service(config, store) as service:
            groups = labelled if data else await read_gold_groups(service.store, limit)
            measure, asked = (calibrate_prompts, 2) if prompts else (calibrate, 1)
            with options.progress("calibrating", len(groups) * asked) as advance:
                runner = JudgeRunner(service, concurrency, deadline_s, advance)
                name = judge or service.ranker.judges.roster.config.default_judge
                return await measure(runner, name, groups, data.name if data else GOLD_NAME)

    _write(asyncio.run(run()), out, as_json=as_json)


def _write(card: "Card", out: Path, *, as_json: bool) -> None:
    """Write a card into a folder, and print it."""
    from rich.console import Console

    from podium_service.cli.display.evaluation import card_view
    from podium_service.evaluation.calibrate import write_card

    files = write_card(card, out)
    if as_json:
        options.print_json(card)
    else:
        Console().print(card_view(card))
        typer.echo(f"written: {files[0]} {files[1]}")
        if card.best_prompt:
            typer.echo(f"with `card: {files[0]}` the judge's `prompt: auto` is {card.best_prompt}")
