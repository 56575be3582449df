"""Section `recorded`: real judges' verdicts replayed, pairwise, against the human's choice."""

from collections.abc import Sequence

from benchmarks.content import Labelled
from benchmarks.judges.fit import fitted, read_rows
from benchmarks.judges.recorded import RecordedJudge, pair_groups
from benchmarks.judges.server import serving
from benchmarks.ranking import figures
from benchmarks.ranking.arms import Outcome, at, bench
from benchmarks.ranking.report import Report, Row

PAIRS, VERDICTS = "llmbar_pairs.jsonl", "llmbar_recorded_pairwise.tsv"


async def run(report: Report) -> None:
    folder = report.settings.data
    if not (folder / PAIRS).exists() or not (folder / VERDICTS).exists():
        report.say(f"recorded: left out, {folder} holds no {PAIRS} and {VERDICTS}")
        return
    groups, verdicts = list(pair_groups(folder / PAIRS)), read_rows(folder / VERDICTS)
    chosen = {name: fit for name, fit in fitted().items() if name.endswith("/best")}
    judges = {
        fit.judge: RecordedJudge(groups, verdicts, fit.judge, fit.method) for fit in chosen.values()
    }
    rows: list[Row] = []
    async with serving(judges) as urls:
        for fit in chosen.values():
            covered = [
                each for each in groups if each.group["group_id"] in judges[fit.judge].covered
            ]
            covered = covered[: report.settings.num(len(covered), 20)]
            async with bench({"arm": at(urls[fit.judge], method="pairwise")}) as held:
                outcomes = await held.judge("arm", covered)
            rows.append(_row(fit.judge, fit.method, outcomes, len(covered)))
    report.table(
        "Recorded judges: pairs, against the human; where the orders disagree, both orders abstain",
        rows,
    )


def _row(judge: str, prompt: str, outcomes: Sequence[Outcome], num: int) -> Row:
    one = [_one_call(each) for each in outcomes]
    both = [_right(each.means, each.group) for each in outcomes]
    return {
        "judge": judge,
        "prompt": prompt,
        "pairs": str(len(outcomes)),
        "right, one call": figures.mean(one),
        "wrong, one call": figures.mean([1 - each for each in one]),
        "wrong, both orders": figures.mean([float(right == 0) for right in both]),
        "right where both agree": figures.mean([right for right in both if right != 0.5]),
        "flips": figures.mean([float(right == 0.5) for right in both]),
        "no verdict": 1 - len(outcomes) / num,
    }


def _right(values: Sequence[float], group: Labelled) -> float:
    gap = (values[0] - values[1]) * (group.truth[0] - group.truth[1])
    return 0.5 if abs(gap) < 1e-9 else float(gap > 0)


def _one_call(outcome: Outcome) -> float:
    """Average the two orders, each by itself."""
    found = []
    for verdict in outcome.verdicts:
        by_body = verdict.by_body()
        found.append(_right([by_body[body] for body in outcome.bodies], outcome.group))
    return sum(found) / len(found)
