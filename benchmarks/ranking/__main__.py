"""Ranking quality: every method, at equal budgets, against a known truth.

    python -m benchmarks.ranking [--quick] [--share .5] [--only targets,methods] [--out FILE]

No network beyond loopback: simulated judges answer over HTTP from a process of their own. Seeds are
fixed; what the service learns of a judge depends a little on the order in which calls come back, so
that figures repeat to about a tenth of their intervals. Intervals are 95%, by a bootstrap over
groups. Sections that need recorded data are left out, with a line, where `--data` has none.

To add a section: write a module with `async def run(report) -> None`; enter it in `SECTIONS`.
"""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from benchmarks.ranking import (
    cpu,
    defences,
    invariance,
    left_out,
    methods,
    real,
    recorded,
    targets,
)
from benchmarks.ranking.plot import draw
from benchmarks.ranking.report import Report, Settings

SECTIONS: dict[str, Callable[[Report], Coroutine[Any, Any, None]]] = {
    "targets": targets.run,
    "methods": methods.run,
    "others": methods.run_others,
    "growth": methods.run_growth,
    "defences": defences.run,
    "recorded": recorded.run,
    "real": real.run,
    "cpu": cpu.run,
    "invariance": invariance.run,
    "left_out": left_out.run,
}
NO_DATA = Path("no-data-given")
RESULTS = Path("benchmarks/results/ranking.json")


def main(
    only: Annotated[str, typer.Option(help=f"Of {', '.join(SECTIONS)}.")] = ",".join(SECTIONS),
    out: Annotated[
        Path, typer.Option(help="Takes all figures as JSON; sections not run stay as they are.")
    ] = RESULTS,
    plot: Annotated[Path | None, typer.Option(help="Takes quality against tokens, PNG.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder of recorded data; sections that need it wait.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="A fraction of the groups, under 40 s.")] = False,
    share: Annotated[float, typer.Option(min=0.1, max=1, help="Of the groups of a full run.")] = 1,
) -> None:
    """Run the sections and print a table each."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = sorted(set(names) - set(SECTIONS))
    if unknown:
        raise typer.BadParameter(f"no section {', '.join(unknown)}: use {', '.join(SECTIONS)}")
    report = Report(Settings(quick, data or NO_DATA, share))
    for name in names:
        with report.section(name):
            uvloop.run(SECTIONS[name](report))
    report.finish()
    found = report.write(out)
    if plot:
        draw(found, plot)
    report.say("done")


if __name__ == "__main__":
    typer.run(main)
