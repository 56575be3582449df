"""Section `real`: recorded trajectories and damage ladders, a simulated judge that knows labels."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.content import Labelled, damage_ladders, real_groups, truth_by_case
from benchmarks.judges.fit import fitted
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.ranking import figures
from benchmarks.ranking.arms import at, bench
from benchmarks.ranking.report import Report, Row
from benchmarks.ranking.ruler import rule_labelled

JUDGE, GROWTH = "PaLM2/best", 0.03
SPREAD, GRID = 0.12, 0.05
FILES = {
    "taubench": "taubench_gpt4o_airline_groups.jsonl",
    "intercode-bash": "intercode_bash_groups.jsonl",
    "intercode-sql": "intercode_sql_step_groups.jsonl",
    "gsm8k": "gsm8k_groups4.jsonl",
}
METHODS: dict[str, dict[str, Any]] = {
    "listwise": {"method": "listwise"},
    "subsets": {"method": "subsets", "block_size": 4},
    "pairwise": {"method": "pairwise"},
    "pointwise": {"method": "pointwise"},
    "best of": {"method": "best_of", "passes": 2},
    "yes or no": {"method": "yes_no"},
    "auto": {"method": "auto"},
}


async def run(report: Report) -> None:
    judge = SimulatedJudge(
        by_case({}), noise_growth=GROWTH, spread=SPREAD, grid=GRID, **fitted()[JUDGE].traits()
    )
    rows: list[Row] = []
    for kind, groups in _kinds(report):
        with serving_apart({"sim": judge}, truth_by_case(groups)) as urls:
            found = {"RULER": await rule_labelled(urls["sim"], groups)}
            for name, settings in METHODS.items():
                async with bench({"arm": at(urls["sim"], **settings)}) as held:
                    found[name] = await held.judge("arm", groups)
        report.say(f"real: {kind}")
        for name, outcomes in found.items():
            row: dict[str, Any] = {"groups": f"{len(groups)} {kind}", "method": name}
            row |= {label: figure(outcomes) for label, figure in figures.FIGURES.items()}
            row["calls"], row["tokens"] = (
                figures.calls(outcomes).value, figures.tokens(outcomes).value
            )  # fmt: skip
            rows.append(row)
    if rows:
        report.table(f"Real groups, a judge like {JUDGE} that knows the labels", rows)


def _kinds(report: Report) -> Iterator[tuple[str, list[Labelled]]]:
    """Yield groups of each kind whose members differ."""
    num = report.settings.num(60, 3)
    for kind, name in FILES.items():
        path = report.settings.data / name
        if not path.exists():
            report.say(f"real: {kind} left out, there is no {path}")
            continue
        yield kind, _differing(real_groups(kind, path), num)
        if kind == "taubench":
            yield "damage ladders", _differing(damage_ladders(Path(path)), num)


def _differing(groups: Iterator[Labelled], num: int) -> list[Labelled]:
    return list(islice((each for each in groups if len(set(each.truth)) > 1), num))
