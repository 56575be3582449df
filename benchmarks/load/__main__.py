"""The service under load: throughput against Little's ideal, latency added, CPU, memory.

    python -m benchmarks.load [--quick] [--ruler-python PYTHON] [--json FILE]
    python -m benchmarks.load soak --minutes 30 [--json FILE]

Three processes on loopback: a scripted judge, `podium serve` with its store (SQLite) on, and a load
generator on raw connections; groups of 8 trajectories x 10 messages, all new, `passes: 1`. Beside
it at some cells, against the same judge server: a plain FastAPI handler around one openai call, and
RULER in process (`--ruler-python` names an environment with `openpipe-art` and `litellm`). On few
cores all of them compete: the cores that each kept busy stand in the row, and a row says so where
judge and load took more than the ranker ("load-heavy") or something else on the machine more than a
fifth of a core ("disturbed").
"""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.json import JSON

from benchmarks.load.grid import Grid
from benchmarks.load.report import line, show, write_json
from benchmarks.load.row import Row
from benchmarks.load.soak import Sample, Soak, found, said_so_far, samples, summary
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
    # So that whoever ends this one ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
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
    for each in grid.run():
        if isinstance(each, str):
            print(each, flush=True)
            continue
        rows.append(each)
        print(line(each), flush=True)
        keep(json_file, {"machine": where, "rows": rows})
    show(f"{where['date']}, {where['cpu']}, {where['cores']} cores", rows)


@app.command("soak")
def soak_command(
    minutes: Annotated[float, typer.Option(help="How long.")] = 30.0,
    warm_up_minutes: Annotated[float, typer.Option(help="Samples of it are not fitted.")] = 3.0,
    in_flight: Annotated[int, typer.Option(help="Connections.")] = 64,
    delay_s: Annotated[float, typer.Option(help="Seconds the judge takes.")] = 0.2,
    rate: Annotated[float, typer.Option(help="Groups a second; 0: as many as it takes.")] = 50.0,
    sample_s: Annotated[float, typer.Option(help="Seconds between samples.")] = 5.0,
    workers: Annotated[int, typer.Option(help="Processes of the service.")] = 1,
    prune_minutes: Annotated[float, typer.Option(help="The store keeps twice that.")] = 2.0,
    json_file: JSONFile = None,
) -> None:
    """Watch memory under steady load. Exit status 1 if a group was not ranked."""
    plan = Soak(
        minutes, warm_up_minutes, in_flight, delay_s, rate, sample_s, workers, prune_minutes
    )
    where, taken, every = machine(), list[Sample](), max(1, round(60 / sample_s))
    try:
        for sample in samples(plan):
            taken.append(sample)
            if len(taken) % every == 0:
                print(said_so_far(sample), flush=True)
                keep(json_file, found(plan, taken, where))
    finally:
        keep(json_file, found(plan, taken, where))
    print(JSON.from_data(summary(plan, taken)).text)
    if taken[-1].failures:
        raise typer.Exit(1)


def keep(json_file: Path | None, figures: Mapping[str, Any]) -> None:
    if json_file:
        write_json(json_file, figures)


def cell_of(text: str) -> tuple[int, float]:
    """Read a cell such as `64x1`: 64 in flight, a judge of 1 s."""
    in_flight, _, delay_s = text.partition("x")
    return int(in_flight), float(delay_s)


if __name__ == "__main__":
    app()
