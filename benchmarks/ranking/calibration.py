"""Do stated errors and chances hold?"""

from collections.abc import Mapping, Sequence

from benchmarks.ranking import figures
from benchmarks.ranking.arms import SPREAD, Outcome
from benchmarks.ranking.report import Report, Row


def show(report: Report, arms: Mapping[str, Sequence[Outcome]]) -> None:
    rows: list[Row] = []
    for name, outcomes in arms.items():
        chances, won = figures.predicted_wins(outcomes)
        bins = figures.reliability_bins(chances, won)
        error = figures.calibration_error(bins)
        covered = figures.coverage(outcomes, SPREAD, shrunk=True)
        rows.append(
            {
                "arm": name,
                "groups": str(len(outcomes)),
                "90% of score": covered,
                "90% of mean, unshrunk": figures.coverage(outcomes, SPREAD, shrunk=False),
                "win probability: calibration error": error,
            }
        )
        if name == "4 passes":
            report.curve("reliability", bins)
            report.target("90% interval of the score, 4 passes", covered, least=0.85, most=0.95)
            report.target("calibration error of win probability, 4 passes", error, most=0.05)
    report.table("Calibration: groups with truth sd 1", rows)
