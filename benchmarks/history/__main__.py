"""How fast the past is read and written, in a store of many groups.

    python -m benchmarks.history [--groups 100000] [--repeats 20] [--loads 500] [--quick]
        [--url postgresql://...] [--json FILE]

Each call of the reader and each page is timed `--repeats` times; a page from its request to its
last byte, without a network. Then each page is loaded a tenth of `--loads` times, then the rest of
them, and the memory of the process is told after both. Writing is timed for groups as a service
writes them, with the group as it was sent and without texts (`--no-texts`).

`--url` names an empty database, in which all this stays; without it, SQLite in a folder that is
deleted. `--json` takes all figures: those of the other kind of database stay in the file.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.history.measuring import measure
from benchmarks.machine import machine


def main(
    groups: Annotated[int, typer.Option(min=1)] = 100_000,
    repeats: Annotated[int, typer.Option(min=1)] = 20,
    loads: Annotated[int, typer.Option(min=10)] = 500,
    written: Annotated[int, typer.Option(min=1)] = 512,
    quick: Annotated[bool, typer.Option("--quick")] = False,
    url: Annotated[str | None, typer.Option(help="An empty database; None is SQLite.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Takes all figures.")] = None,
) -> None:
    """Print the times of reading and of writing."""
    if quick:
        groups, repeats, loads, written = 2000, 2, 10, 16
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), groups, repeats, loads, written, url=url))
    if json_file:
        write_json(json_file, "SQLite" if url is None else "PostgreSQL", found)


def write_json(file: Path, database: str, found: dict[str, Any]) -> None:
    """Put the figures of one kind of database into a file."""
    told = json.loads(file.read_text()) if file.exists() else {}
    told[database] = {"machine": machine(), **found}
    file.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
