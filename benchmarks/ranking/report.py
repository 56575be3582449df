"""Rows of figures -> tables on the terminal, and JSON."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from podium_service.scoring.bootstrap import Measure

Cell = Measure | float | str | None
Row = Mapping[str, Cell]
WIDTH = 190


@dataclass(frozen=True)
class Settings:
    """Amount to run, and the folder of recorded data.

    Attributes:
        share: of the groups of a full run; intervals are as much wider as its root is smaller.
    """

    quick: bool
    data: Path
    share: float = 1.0

    def num(self, full: int, quick: int) -> int:
        return quick if self.quick else max(quick, round(self.share * full))


@dataclass
class Section:
    """Tables that one section found.

    Attributes:
        tables: rows by title.
        targets: what was to be reached, and whether it was.
        curves: for the plot, by panel.
        facts: what else the figures must name, such as a real judge's model.
    """

    quick: bool
    share: float = 1.0
    machine: dict[str, Any] = field(default_factory=machine)
    seconds: float = 0.0
    tables: dict[str, list[Row]] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Report:
    """Tables found so far, by section; a section writes into the last one begun."""

    settings: Settings
    console: Console = field(default_factory=lambda: Console(width=WIDTH))
    sections: dict[str, Section] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Let all that is found meanwhile belong to this section."""
        began = time.perf_counter()
        self._now = self.sections[name] = Section(self.settings.quick, self.settings.share)
        self.say(f"section {name}")
        yield
        self._now.seconds = round(time.perf_counter() - began, 1)

    def say(self, text: str) -> None:
        self.console.print(f"{time.perf_counter() - self.started:6.0f} s  {text}", style="dim")

    def table(self, title: str, rows: list[Row]) -> None:
        """Keep rows, one cell a column, and print them."""
        self._now.tables[title] = rows
        self._print(title, rows)

    def target(
        self, what: str, found: Measure | float, *, least: float = -inf, most: float = inf
    ) -> None:
        """Say whether a figure is within bounds."""
        value = found.value if isinstance(found, Measure) else found
        met = value is not None and least <= value <= most
        bounds = [f">= {least:g}"] * (least > -inf) + [f"<= {most:g}"] * (most < inf)
        given = {"what": what, "found": found, "target": " and ".join(bounds), "met": met}
        self._now.targets.append(given)

    def curve(self, panel: str, found: Any) -> None:
        """Keep what a panel of the plot is drawn from."""
        self._now.curves[panel] = found

    def facts(self, known: Mapping[str, Any]) -> None:
        """Keep what else the figures must name."""
        self._now.facts |= known

    def finish(self) -> None:
        """Print the targets of all sections."""
        every = [each for section in self.sections.values() for each in section.targets]
        rows: list[Row] = [{**each, "met": "yes" if each["met"] else "NO"} for each in every]
        if rows:
            self._print("Targets", rows)

    def write(self, path: Path) -> dict[str, Any]:
        """Write all sections as JSON; those not run keep what the file has of them. Returns all."""
        held = orjson.loads(path.read_bytes()) if path.exists() else {}
        ours = orjson.loads(orjson.dumps(self.sections, default=asdict))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(held | ours, option=orjson.OPT_INDENT_2) + b"\n")
        return dict(held | ours)

    def _print(self, title: str, rows: list[Row]) -> None:
        shown = Table(title=title, title_justify="left")
        for name in dict.fromkeys(name for row in rows for name in row):
            words = isinstance(rows[0].get(name), str)
            shown.add_column(name, justify="left" if words else "right")
        for row in rows:
            shown.add_row(*(written(row.get(str(c.header), "")) for c in shown.columns))
        self.console.print(shown)


def written(cell: Cell) -> str:
    """Return a cell for people: a value and its interval."""
    if isinstance(cell, Measure):
        if cell.value is None:
            return "-"
        if cell.low is None or cell.high is None:
            return _number(cell.value)
        return f"{_number(cell.value)} {_number(cell.low)}-{_number(cell.high)}"
    if isinstance(cell, str):
        return cell
    return "-" if cell is None else _number(cell)


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 2:
        return f"{value:.1f}"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"
