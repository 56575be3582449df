"""How well do returned advantages point along the true ones, and at what price?

    python -m benchmarks.alignment [--data FOLDER] [--judges ...] [--sets ...] [--arms ...]
    python -m benchmarks.alignment --url http://127.0.0.1:PORT/v1 --model NAME --store FOLDER

Recorded rollouts (`sets`), ranked by RULER's procedure and by the service in several ways (`arms`),
with simulated judges (`endpoints`) or with one real endpoint. Figures are means over batches of 8
groups (`cosine`), with 95% intervals by a bootstrap over groups. "New" judges have no history of
their own when the half of a set begins; "warmed up" ones have judged its other half.

`per token / RULER` divides squared cosines per token. `equal tokens / RULER` divides by what RULER
gets for the arm's tokens when it calls the judge again and averages the scores, on straight lines
between whole calls; below one call that is the same as per token. Both compare with the better of
RULER's two advantages (std-scaled as its trainer does it, or centred). RULER is spared the noise of
its judge on groups of identical answers.

With `--store`, what was paid is kept, and a run that was cut off goes on.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from benchmarks.alignment.arms import ARMS, DEFAULT, QUICK_ARMS
from benchmarks.alignment.endpoints import SIMULATED, RealEndpoint, simulated
from benchmarks.alignment.measuring import (
    PARTS,
    Endpoints,
    ask_in_parts,
    rule_in_parts,
    rule_without_repeats,
)
from benchmarks.alignment.plot import draw
from benchmarks.alignment.rows import rows_of
from benchmarks.alignment.sets import SETS, SIMULATED_SETS, GroupSet, read_set
from benchmarks.ranking.report import Report, Row, Settings
from podium_service.prompts.wording import PROMPT_VERSION
from podium_service.scoring.bootstrap import Measure

RESULTS = Path("benchmarks/results/alignment.json")
NO_DATA = Path("no-data-given")
PER_HALF = 48
QUICK_SETS, QUICK_PER_HALF = ("addition-1",), 6
LEAST_SIMULATED, LEAST_REAL = 1.3, 2.0


async def measure(
    report: Report,
    sets: Sequence[GroupSet],
    arms: Sequence[str],
    endpoints: Endpoints,
    folder: Path,
) -> None:
    """Ask every arm about every set; a table a set."""
    for of in sets:
        ruled = await rule_in_parts(of, endpoints)
        ruled_once = await rule_without_repeats(of, endpoints)
        report.say(f"{of.name}: RULER")
        entries = {}
        for name in arms:
            entries[name] = await ask_in_parts(name, ARMS[name], of, endpoints, folder)
            report.say(f"{of.name}: {name}")
        rows = rows_of({name: ARMS[name] for name in arms}, entries, ruled, ruled_once)
        facts = ", ".join(f"{name} {value:g}" for name, value in of.facts.items())
        report.table(f"{of.name} ({facts})", rows)
        _targets(report, of.name, rows, endpoints)


def _targets(report: Report, name: str, rows: Sequence[Row], endpoints: Endpoints) -> None:
    """Print whether the default, warmed up, gets enough more than RULER for its tokens."""
    least = LEAST_REAL if isinstance(endpoints, RealEndpoint) else LEAST_SIMULATED
    for row in rows:
        if (row["arm"], row["judge"], row["advantages"]) == (DEFAULT, PARTS[1], "mean"):
            found = row["equal tokens / RULER"]
            assert isinstance(found, Measure)
            report.target(f"{name}: default against RULER at equal tokens", found, least=least)


@contextmanager
def kept_in(folder: Path | None) -> Iterator[Path]:
    """Yield the folder for what was paid: the one given, or one that is gone afterwards."""
    if folder:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def chosen(given: str, known: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Split names at semicolons, as they may hold commas; return the usual ones for none."""
    names = [name.strip() for name in given.split(";") if name.strip()] or list(usual)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise typer.BadParameter(f"no {'; '.join(unknown)}: there are {'; '.join(known)}")
    return names


def read_sets(
    report: Report, names: Sequence[str], per_half: int, *, keyed: bool
) -> list[GroupSet]:
    """Return the sets whose files are there."""
    found = {name: read_set(name, report.settings.data, per_half, keyed=keyed) for name in names}
    for name, each in found.items():
        if each is None:
            report.say(f"{name} is left out: its file is not in {report.settings.data}")
    return [each for each in found.values() if each]


def main(
    judges: Annotated[str, typer.Option(help=f"Of {'; '.join(SIMULATED)}.")] = "",
    sets: Annotated[str, typer.Option(help=f"Of {'; '.join(SETS)}.")] = "",
    arms: Annotated[str, typer.Option(help=f"Of {'; '.join(ARMS)}.")] = "",
    data: Annotated[Path, typer.Option(help="The folder of recorded groups.")] = NO_DATA,
    groups: Annotated[int, typer.Option(help="Most groups in each half of a set.")] = PER_HALF,
    repetitions: Annotated[int, typer.Option(help="Noises of a simulated judge.")] = 2,
    url: Annotated[str, typer.Option(help="A real judge's endpoint, with /v1.")] = "",
    model: Annotated[str, typer.Option(help="The real judge's name there.")] = "judge",
    rulings: Annotated[int, typer.Option(help="RULER's calls of a real judge a group.")] = 1,
    store: Annotated[Path | None, typer.Option(help="Keeps what was paid.")] = None,
    out: Annotated[
        Path, typer.Option(help="Takes all figures; judges not asked stay as they are.")
    ] = RESULTS,
    plot: Annotated[Path | None, typer.Option(help="Takes the picture, PNG.")] = None,
    quick: Annotated[bool, typer.Option(help="One set, few groups, seconds.")] = False,
) -> None:
    """Measure, print a table for each judge and set, and write the figures."""
    report = Report(Settings(quick, data))
    usual_sets = QUICK_SETS if quick else tuple(SETS) if url else SIMULATED_SETS
    arm_names = chosen(arms, list(ARMS), QUICK_ARMS if quick else list(ARMS))
    per_half = QUICK_PER_HALF if quick else groups
    found = read_sets(report, chosen(sets, list(SETS), usual_sets), per_half, keyed=not url)
    with kept_in(store) as folder:
        if url:
            real = RealEndpoint(url, model, folder / model, rulings=rulings)
            with report.section(model):
                uvloop.run(measure(report, found, arm_names, real, folder / model))
        else:
            for judge in chosen(judges, list(SIMULATED), list(SIMULATED)[: 1 if quick else None]):
                with report.section(judge), simulated(SIMULATED[judge], found, repetitions) as them:
                    uvloop.run(measure(report, found, arm_names, them, folder / judge))
    report.finish()
    sections: dict[str, Any] = report.write(out)
    report.say(f"prompts of version {PROMPT_VERSION}")
    if plot:
        draw(sections, plot)


if __name__ == "__main__":
    typer.run(main)
