"""A judge's card as tables."""

from rich.console import Group, RenderableType
from rich.table import Table

from podium_service.cli.display.text import literal
from podium_service.evaluation.card import Card
from podium_service.evaluation.page import COLUMNS, ROWS, format_measure


def card_view(card: Card) -> RenderableType:
    """The card as tables for a terminal."""
    stored = f", {card.stored} from the store" if card.stored else ""
    heading = f"{card.judge}: {card.ranked} of {card.groups} groups ranked{stored}"
    agreement = Table(title=literal(heading), title_justify="left")
    agreement.add_column("agreement with the labels")
    for words in COLUMNS.values():
        agreement.add_column(words)
    for name, values in card.agreement.items():
        agreement.add_row(ROWS[name][0], *(format_measure(values[of]) for of in COLUMNS))
    rest = measures_table("steadiness, length, calls and cost")
    for name, measure in (card.steadiness | card.length | card.calls | card.spend).items():
        rest.add_row(ROWS[name][0], format_measure(measure))
    slots = ", ".join(f"{slot.position:.2f}: {slot.effect:+.3f}" for slot in card.slots)
    rest.add_row("Slot effects (0 first, 1 last)", slots or f"– ({card.slots_reason})")
    for code, count in card.failures.items():
        rest.add_row(f"Failed: {code}", str(count))
    return Group(agreement, rest)


def measures_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("measure")
    table.add_column("value", overflow="fold")
    return table
