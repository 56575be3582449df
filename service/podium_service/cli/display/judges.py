"""The configured judges as a table."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from podium_service.cli.display.text import literal


def judges_table(judges: Sequence[dict[str, Any]]) -> Table:
    """Show the settings of each judge, and whether it answers."""
    columns = ("judge", "kind", "model or criteria", "method", "fallback", "answers")
    table = Table(*columns, title="judges", title_justify="left")
    for judge in judges:
        members = ", ".join(judge.get("members", []))
        criteria = ", ".join(check["check"] for check in judge.get("criteria", []))
        method = _method(judge)
        name = f"{judge['name']} (default)" if judge["default"] else judge["name"]
        table.add_row(
            literal(name), literal(judge["kind"]), literal(judge.get("model", criteria) or members),
            literal(method), literal(", ".join(judge["fallback"])), _answers(judge),
        )  # fmt: skip
    return table


def _method(judge: dict[str, Any]) -> str:
    passes = judge.get("passes")
    if not passes:
        return str(judge.get("method", ""))
    low, high = passes["min"], passes["max"]
    return f"{judge['method']} x {low if low == high else f'{low}-{high}'}"


def _answers(judge: dict[str, Any]) -> Text:
    details = "; ".join(each["detail"] for each in judge["endpoints"] if each.get("detail"))
    if not judge["answers"]:
        return literal(f"no: {details}", style="red")
    return literal(f"yes, but {details}", style="yellow") if details else Text("yes", style="green")
