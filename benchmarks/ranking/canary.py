"""How many verdicts the canary voids: of a judge that reads, and of one that does not."""

import numpy as np

from benchmarks.content import truth_by_case
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.ranking.arms import GRID, SPREAD, at, bench, made_up
from benchmarks.ranking.report import Report, Row

SIZE = 8


async def show(report: Report) -> None:
    rng = np.random.default_rng(7)
    groups = made_up(report.settings.num(300, 8), SIZE, "hard", rng)
    honest = SimulatedJudge(by_case({}), slot_bias=0.5, spread=SPREAD, grid=GRID)
    # To one that does not read, all are alike, the canary included.
    blind = {case: 0.0 for each in groups for case in each.cases}
    rows: list[Row] = []
    for name, judge, truth in (
        ("reads", honest, truth_by_case(groups)),
        ("does not read", SimulatedJudge(by_case({}), spread=SPREAD, grid=GRID, canary_truth=0.0),
         blind),
    ):  # fmt: skip
        with serving_apart({"sim": judge}, truth) as urls:
            async with bench({"sim": at(urls["sim"], canary=True, passes=2)}) as held:
                outcomes = await held.judge("sim", groups)
                count = held.metrics.registry.get_sample_value
                voided = count("podium_judge_faults_total", {"judge": "sim"}) or 0.0
                calls = count("podium_judge_calls_total", {"judge": "sim", "outcome": "ok"}) or 0.0
        share = voided / calls
        failed = 1 - len(outcomes) / len(groups)
        rows.append({"judge": name, "verdicts void": share, "groups failed": failed})
    report.table("Canary: a planted bad trajectory must come in the last third", rows)
