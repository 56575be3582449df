"""The agreement of several judges as tables."""

from rich.console import Group, RenderableType
from rich.table import Table

from podium_service.cli.display.text import literal
from podium_service.evaluation.compare import Comparison, PairSummary
from podium_service.evaluation.page import ROWS, format_measure

_SHOWN = 10  # changes of sign
_PAIR_ROWS = {
    "tau": "Kendall's tau of the rewards",
    "top1": "Same best trajectory",
    "opposite": "Advantages of opposite sign",
    "one_sided": "Advantages that are zero for one only",
}


def comparison_view(comparison: Comparison) -> RenderableType:
    """One table for the judges, one for each pair of them."""
    judges = Table(title=f"{comparison.groups} groups", title_justify="left")
    judges.add_column("")
    for each in comparison.judges:
        judges.add_column(literal(each.judge))
    judges.add_row("Ranked", *(_ranked(each.ranked, each.stored) for each in comparison.judges))
    judges.add_row(
        ROWS["reliability"][0], *(format_measure(each.reliability) for each in comparison.judges)
    )
    for name in comparison.judges[0].measures:
        values = (format_measure(each.measures[name]) for each in comparison.judges)
        judges.add_row(ROWS[name][0], *values)
    failed = (", ".join(f"{n} {code}" for code, n in j.failures.items()) for j in comparison.judges)
    judges.add_row("Failed", *(words or "none" for words in failed))
    pairs = Table(title="how far they agree", title_justify="left")
    pairs.add_column("")
    for pair in comparison.pairs:
        pairs.add_column(literal(f"{pair.first}, {pair.second}"))
    pairs.add_row("Groups ranked by both", *(str(pair.groups) for pair in comparison.pairs))
    for name, words in _PAIR_ROWS.items():
        values = (format_measure(getattr(pair, name)) for pair in comparison.pairs)
        pairs.add_row(words, *values)
    changes = [_changes_table(pair) for pair in comparison.pairs if pair.changes]
    left_out = [
        literal(f"{count} stored groups left out: {reason}")
        for reason, count in comparison.left_out.items()
    ]
    return Group(judges, pairs, *changes, *left_out)


def _changes_table(pair: PairSummary) -> Table:
    """The trajectories on whose sign two judges disagree most; --json has all."""
    widest = sorted(pair.changes, key=lambda each: -abs(each.first_reward - each.second_reward))
    title = f"rewards that change sign: the widest {min(_SHOWN, len(widest))} of {len(widest)}"
    table = Table(title=title, title_justify="left")
    for name in ("group", "trajectory", pair.first, pair.second):
        table.add_column(literal(name))
    for each in widest[:_SHOWN]:
        group = each.group_id or f"group {each.group}"
        rewards = f"{each.first_reward:.3f}", f"{each.second_reward:.3f}"
        table.add_row(literal(group), literal(each.trajectory), *rewards)
    return table


def _ranked(ranked: int, stored: int) -> str:
    return f"{ranked}, {stored} from the store" if stored else str(ranked)
