"""A judge's card, and the agreement of several judges, as tables."""

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from podium_service.cli.display.text import literal
from podium_service.evaluation.card import Card
from podium_service.evaluation.compare import Comparison, PairSummary
from podium_service.evaluation.page import (
    COLUMNS,
    PASSES_COLUMNS,
    PROMPTS_COLUMNS,
    ROWS,
    conclude,
    describe_advice,
    describe_trial,
    format_measure,
)

_SHOWN = 10  # changes of sign
_PAIR_ROWS = {
    "tau": "Kendall's tau of the rewards",
    "top1": "Same best trajectory",
    "opposite": "Advantages of opposite sign",
    "one_sided": "Advantages that are zero for one only",
}


def card_view(card: Card) -> RenderableType:
    """Show a card as one table of agreement and one of all else."""
    title = (
        f"{card.judge}: {_describe(f'{card.ranked} of {card.groups} groups ranked', card.stored)}"
    )
    agreement = _table(literal(title), "agreement with the labels", *COLUMNS.values())
    for name, values in card.agreement.items():
        agreement.add_row(ROWS[name][0], *(format_measure(values[of]) for of in COLUMNS))
    rest = Table("", Column(overflow="fold"), "", show_header=False, title_justify="left")
    rest.title = "steadiness, length, calls and cost"
    for name, measure in (card.steadiness | card.length | card.calls | card.spend).items():
        rest.add_row(ROWS[name][0], format_measure(measure), ROWS[name][1])
    slots = ", ".join(f"{slot.position:.2f}: {slot.effect:+.3f}" for slot in card.slots)
    rest.add_row(
        "Slot effects", slots or f"– ({card.slots_reason})", "what a place in a list adds; 0 first"
    )
    for code, count in card.failures.items():
        rest.add_row(f"Failed: {code}", str(count))
    prompts = [_prompts_table(card)] if card.prompts else []
    conclusion = [conclude(card)] if conclude(card) else []
    return Group(agreement, rest, *prompts, _passes_table(card), *conclusion)


def _prompts_table(card: Card) -> Table:
    """Show what each prompt found, and which one `prompt: auto` takes from this card."""
    table = _table("prompts", *PROMPTS_COLUMNS)
    for trial in card.prompts:
        table.add_row(*describe_trial(trial, card.best_prompt))
    return table


def _passes_table(card: Card) -> Table:
    """Show how many passes pay, by the cost of producing a group."""
    table = _table("passes that pay", *PASSES_COLUMNS)
    table.columns[-1].no_wrap = True  # because it is there to be copied
    for advice in card.passes:
        table.add_row(*describe_advice(advice))
    if card.passes_reason:
        table.add_row(f"– ({card.passes_reason})")
    return table


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show one table of the judges, one of their pairs, and one of each pair's sign changes."""
    judges = _table(f"{comparison.groups} groups", "", *(each.judge for each in comparison.judges))
    rows = [each.measures | {"reliability": each.reliability} for each in comparison.judges]
    judges.add_row("Ranked", *(_describe(each.ranked, each.stored) for each in comparison.judges))
    for name in ("reliability", *comparison.judges[0].measures):
        judges.add_row(ROWS[name][0], *(format_measure(row[name]) for row in rows))
    failed = (", ".join(f"{n} {code}" for code, n in j.failures.items()) for j in comparison.judges)
    judges.add_row("Failed", *(words or "none" for words in failed))
    names = (f"{pair.first}, {pair.second}" for pair in comparison.pairs)
    pairs = _table("how far they agree", "", *names)
    pairs.add_row("Groups ranked by both", *(str(pair.groups) for pair in comparison.pairs))
    for name, words in _PAIR_ROWS.items():
        pairs.add_row(words, *(format_measure(getattr(pair, name)) for pair in comparison.pairs))
    changes = [_changes_table(pair) for pair in comparison.pairs if pair.changes]
    left_out = [
        literal(f"{count} stored groups left out: {reason}")
        for reason, count in comparison.left_out.items()
    ]
    return Group(judges, pairs, *changes, *left_out)


def _changes_table(pair: PairSummary) -> Table:
    """Show the trajectories on whose sign two judges disagree most; --json has all."""
    widest = sorted(pair.changes, key=lambda each: -abs(each.first_reward - each.second_reward))
    title = f"rewards that change sign: the widest {min(_SHOWN, len(widest))} of {len(widest)}"
    table = _table(title, "group", "trajectory", pair.first, pair.second)
    for each in widest[:_SHOWN]:
        group = each.group_id or f"group {each.group}"
        rewards = f"{each.first_reward:.3f}", f"{each.second_reward:.3f}"
        table.add_row(literal(group), literal(each.trajectory), *rewards)
    return table


def _table(title: str | Text, *columns: str) -> Table:
    headers = (Column(literal(column)) for column in columns)
    return Table(*headers, title=title, title_justify="left")


def _describe(ranked: object, stored: int) -> str:
    return f"{ranked}, {stored} from the store" if stored else f"{ranked}"
