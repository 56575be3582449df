"""Rows -> a table on the terminal, and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.load.row import Row

COLUMNS = (
    "who", "kB", "judge", "in flight", "groups", "groups/s", "of ideal", "p50 added", "p99 added",
    "CPU ms", "cores", "judge's", "load's", "others'", "RSS MB", "failed", "",
)  # fmt: skip


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    """Replace the file as a whole, so that a run cut short leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2, default=asdict) + b"\n")
    beside.replace(path)


def table(title: str, rows: Sequence[Row]) -> Table:
    shown = Table(title=title, title_justify="left")
    for name in COLUMNS:
        shown.add_column(name, justify="left" if name in ("who", "") else "right")
    for each in rows:
        shown.add_row(*cells(each))
    return shown


def cells(row: Row) -> list[str]:
    share = "" if row.ideal_share is None else f"{row.ideal_share:.3f}"
    return [
        row.what,
        str(row.cell.group_kb),
        f"{row.cell.delay_s:g} s",
        f"{row.cell.in_flight:,}",
        f"{row.groups:,}",
        f"{row.groups_per_s:.1f}",
        share,
        f"{row.p50_added_ms:,.1f} ms",
        f"{row.p99_added_ms:,.1f} ms",
        f"{row.cpu_ms:.2f}",
        f"{row.ranker_cores:.2f}",
        f"{row.judge_cores:.2f}",
        f"{row.load_cores:.2f}",
        f"{row.others_cores:.2f}",
        f"{row.rss_mb:,.0f}",
        str(sum(row.failures.values())),
        ", ".join(["load-heavy"] * row.load_heavy + ["disturbed"] * row.disturbed),
    ]


def line(row: Row) -> str:
    """Return the line that shows a row while the others are still to come."""
    share = f" ({row.ideal_share:.3f} of ideal)" if row.ideal_share is not None else ""
    return (
        f"{row.what}: {row.cell.in_flight} in flight, judge {row.cell.delay_s:g} s: "
        f"{row.groups_per_s:.1f} groups/s{share}, {row.cpu_ms:.2f} ms CPU a group"
    )


def show(title: str, rows: Sequence[Row]) -> None:
    Console(width=180).print(table(title, rows))
