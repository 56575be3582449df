"""The service under load: throughput against Little's ideal, latency added, CPU, memory.

    python -m benchmarks.load [--quick] [--ruler-python PYTHON] [--json FILE]
    python -m benchmarks.load soak --minutes 30 [--json FILE]

Three processes on loopback: a scripted judge, `podium serve` with its store (SQLite) on, and a load
generator on raw connections; groups of 8 trajectories x 10 messages, all new, `passes: 1`. Beside
it at some cells, against the same judge server: a plain FastAPI handler around one openai call, and
RULER in process (`--ruler-python` names an environment with `openpipe-art` and `litellm`). On few
cores all of them compete: what each used stands in the row, and a row where judge and load took
more than the ranker says so.
"""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.load.grid import Grid
from benchmarks.load.report import line, show, write_json
from benchmarks.load.row import Row
from benchmarks.machine import machine

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
JSONFile = Annotated[Path | None, typer.Option("--json", help="Takes all figures.")]


@app.callback(invoke_without_command=True)
def grid_command(
    context: typer.Context,
    in_flight: Annotated[str, typer.Option(help="Groups at once.")] = "1,16,64,256,1024",
    delay_s: Annotated[str, typer.Option(help="Seconds the judge takes.")] = "0.2,1,8",
    group_kb: Annotated[int, typer.Option(help="Size of a group.")] = 95,
    workers: Annotated[str, typer.Option(help="Processes of the service.")] = "1,2",
    peers: Annotated[str, typer.Option(help="Where peers run: INxDELAY.")] = "64x1,256x1",
    window_s: Annotated[float, typer.Option(help="Least seconds a row is counted.")] = 8.0,
    ruler_python: Annotated[Path | None, typer.Option(help="Has openpipe-art.")] = None,
    quick: Annotated[bool, typer.Option(help="Two small cells, under 40 s.")] = False,
    json_file: JSONFile = None,
) -> None:
    """Measure the grid; a row is written as soon as it is there."""
    if context.invoked_subcommand:
        return
    if quick:
        in_flight, delay_s, workers, peers, window_s = "1,16", "0.2", "1,2", "16x0.2", 1.5
    grid = Grid(
        in_flight=[int(text) for text in in_flight.split(",")],
        delays_s=[float(text) for text in delay_s.split(",")],
        group_kb=group_kb,
        workers=[int(text) for text in workers.split(",")],
        peers=[cell_of(text) for text in peers.split(",") if text],
        ruler_python=ruler_python,
        window_s=window_s,
        rounds=2 if quick else 4,
    )
    measure(grid, json_file)


def measure(grid: Grid, json_file: Path | None) -> None:
    rows: list[Row] = []
    where = machine()
    for found in grid.run():
        if isinstance(found, str):
            print(found, flush=True)
            continue
        rows.append(found)
        print(line(found), flush=True)
        if json_file:
            write_json(json_file, {"machine": where, "rows": rows})
    show(f"{where['date']}, {where['cpu']}, {where['cores']} cores", rows)


def cell_of(text: str) -> tuple[int, float]:
    """`64x1`: 64 in flight, a judge of 1 s."""
    in_flight, _, delay_s = text.partition("x")
    return int(in_flight), float(delay_s)


if __name__ == "__main__":
    app()
