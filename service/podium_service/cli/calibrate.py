"""`podium calibrate`: what a judge is worth on labelled groups."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table

from podium_service.cli.display import literal
from podium_service.cli.options import (
    DEFAULT_CONCURRENCY,
    DEFAULT_DEADLINE_S,
    DEFAULT_STORE,
    AsJSON,
    Concurrency,
    ConfigPath,
    DeadlineS,
    StoreURL,
    print_json,
    progress,
    require_deadline,
)
from podium_service.evaluation.calibrate import calibrate, write_card
from podium_service.evaluation.card import Card
from podium_service.evaluation.labelled_groups import LabelledGroup, read_labelled_groups
from podium_service.evaluation.page import COLUMNS, ROWS, with_interval
from podium_service.http.server.server import open_service
from podium_service.telemetry import logs


def calibrate_command(
    judge: Annotated[str, typer.Option(help="The judge's name in the judges file.")],
    data: Annotated[Path, typer.Option(help="Labelled groups or pairs, one a line (JSONL); or -.")],
    out: Annotated[Path, typer.Option(help="The folder for J.json and J.html.")] = Path(
        "judge-cards"
    ),
    limit: Annotated[int | None, typer.Option(min=1, help="The first lines only.")] = None,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    deadline_s: DeadlineS = DEFAULT_DEADLINE_S,
    config: ConfigPath = None,
    store: StoreURL = DEFAULT_STORE,
    as_json: AsJSON = False,
) -> None:
    """Measure a judge on labelled groups, and write its card: JSON and one HTML page.

    Verdicts are kept in the store as they come: started again, it goes on where it stopped. Exit
    status 1 if no group could be ranked.
    """
    logs.configure("error")
    require_deadline(deadline_s)
    groups = read_labelled_groups(data, limit)
    card = asyncio.run(_calibrate(config, store, judge, groups, data, concurrency, deadline_s))
    files = write_card(card, out)
    if as_json:
        print_json(card)
    else:
        Console().print(card_view(card))
        typer.echo(f"written: {files[0]} {files[1]}")


def card_view(card: Card) -> RenderableType:
    """The card as tables for a terminal."""
    stored = f", {card.stored} from the store" if card.stored else ""
    heading = f"{card.judge}: {card.ranked} of {card.groups} groups ranked{stored}"
    truth = Table(title=literal(heading), title_justify="left")
    truth.add_column("against the truth")
    for words in COLUMNS.values():
        truth.add_column(words)
    for name, values in card.agreement.items():
        truth.add_row(ROWS[name][0], *(with_interval(values[of]) for of in COLUMNS))
    rest = measures_table("with itself, and its calls")
    for name, measure in (card.steadiness | card.length | card.calls | card.spend).items():
        rest.add_row(ROWS[name][0], with_interval(measure))
    slots = ", ".join(f"{slot.position:.2f}: {slot.effect:+.3f}" for slot in card.slots)
    rest.add_row("Slot effects (0 first, 1 last)", slots or f"– ({card.slots_reason})")
    for code, count in card.failures.items():
        rest.add_row(f"Failed: {code}", str(count))
    return Group(truth, rest)


def measures_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("measure")
    table.add_column("value", overflow="fold")
    return table


async def _calibrate(
    config: Path | None,
    store: str,
    judge: str,
    groups: list[LabelledGroup],
    data: Path,
    concurrency: int,
    deadline_s: float,
) -> Card:
    async with open_service(config, store) as service:
        with progress("calibrating", len(groups)) as advance:
            return await calibrate(
                service,
                judge,
                groups,
                data=data.name,
                concurrency=concurrency,
                deadline_s=deadline_s,
                advance=advance,
            )
