"""Step time when rollout, ranking and update overlap, with parts that take chosen seconds.

    OMP_NUM_THREADS=1 python -m benchmarks.pipeline [--json benchmarks/results/pipeline.json]
    OMP_NUM_THREADS=1 python -m benchmarks.pipeline --quick

The first takes five minutes with parts of .5 s, the second 15 s on a quiet core. A step costs about
.12 s of CPU in all processes, so on a busy machine choose longer parts (`--unit-s`).

Each cell is a run of the trainer against a scripted vLLM server, a service and a scripted judge,
all of them processes of their own. Beside its seconds stands what its parts take at least:
max(sampler, update, (rollout + judge + update) / (max_staleness + 1)). The second table compares
groups that are ranked as they are played with groups that wait for each other.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.pipeline.measuring import Cell, run_cell
from benchmarks.pipeline.parts import Parts, kinds, uneven
from benchmarks.processes import judge_server, service
from podium_trainer.run.cli import silence_libraries

STALENESS = (0, 1, 2, 4)
MEASURED = 4
QUICK_UNIT_S = 0.15
WAYS = {"ranked as they are played": False, "ranked once all are played": True}


def measure(
    parts_by_kind: Mapping[str, Parts], staleness: tuple[int, ...], count: int
) -> Iterator[Cell]:
    """Yield a cell for each kind of step and each number of gathers ahead."""
    for kind, parts in parts_by_kind.items():
        with (
            judge_server(parts.judge_s) as judge,
            service(judge.url, concurrency=parts.judge_places) as podium,
        ):
            for ahead in staleness:
                yield run_cell(kind, parts, ahead, podium.url, measured=count)


def compare(parts: Parts, staleness: tuple[int, ...], count: int) -> Iterator[Cell]:
    """Yield a cell for each way of ranking and each number of gathers ahead."""
    with (
        judge_server(parts.judge_s) as judge,
        service(judge.url, concurrency=parts.judge_places) as podium,
    ):
        for way, waits in WAYS.items():
            for ahead in staleness:
                yield run_cell(way, parts, ahead, podium.url, measured=count, waits_for_all=waits)


def told(cell: Cell) -> Cell:
    """Print a cell when it is done, because all of them take minutes."""
    print(f"{cell.kind}, K = {cell.max_staleness}: {cell.step_s:.2f} s", flush=True)
    return cell


def table_of(cells: list[Cell], title: str) -> Table:
    """Show a row for each kind, with the seconds of a step and their ratio to the bound."""
    ahead = sorted({cell.max_staleness for cell in cells})
    table = Table(
        "seconds of a step (over the least)", *(f"K = {each}" for each in ahead), title=title
    )
    for kind, row in groupby(cells, lambda cell: cell.kind):
        table.add_row(kind, *(f"{cell.step_s:.2f} ({cell.ratio:.2f})" for cell in row))
    return table


def as_json(cells: list[Cell]) -> list[dict[str, Any]]:
    return [asdict(cell) | {"ratio": cell.ratio} for cell in cells]


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A few short cells.")] = False,
    unit_s: Annotated[float, typer.Option(help="Seconds of the shortest parts.")] = 0.5,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write JSON.")] = None,
) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    silence_libraries()
    unit_s, count = (QUICK_UNIT_S if quick else unit_s), MEASURED
    chosen = {k: p for k, p in kinds(unit_s).items() if not quick or k == "equal parts"}
    console = Console(width=120)
    cells = [told(cell) for cell in measure(chosen, (0, 2) if quick else STALENESS, count)]
    console.print(table_of(cells, "parts of chosen seconds"))
    ways = [told(cell) for cell in compare(uneven(unit_s), (0,) if quick else (0, 1), count)]
    console.print(table_of(ways, "groups that are done one after the other"))
    if json_path is not None:
        found = {**machine(), "unit_s": unit_s, "cells": as_json(cells), "ranking": as_json(ways)}
        json_path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
