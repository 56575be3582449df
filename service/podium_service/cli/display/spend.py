"""What judges cost, as a table."""

from rich.table import Column, Table
from rich.text import Text

from podium_service.cli.display.text import literal
from podium_service.schemas.spend import SpendReport, SpendRow, SpendSum

_NAMELESS = {"key": "no stored key", "run": "no run"}


def spend_table(report: SpendReport) -> Table:
    """Show a report, with a last line for the total."""
    numbers = (Column(name, justify="right") for name in ("calls", "tokens", "USD"))
    table = Table(*report.by, *numbers, show_footer=False)
    for row in report.rows:
        table.add_row(*(_name(row, by) for by in report.by), *_sums(row))
    table.add_section()
    rest = [""] * (len(report.by) - 1)
    table.add_row("total", *rest, *_sums(report.total))
    return table


def _name(row: SpendRow, by: str) -> Text:
    name = getattr(row, by)
    if by == "key" and row.key_id and name is None:  # of a store that lost its keys
        name = row.key_id
    return literal(name) if name is not None else Text(_NAMELESS[by], style="dim")


def _sums(sums: SpendSum) -> tuple[str, str, str]:
    usd = "" if sums.cost_usd is None else f"{sums.cost_usd:.4f}"
    return f"{sums.calls:,}", f"{sums.tokens:,}", usd
