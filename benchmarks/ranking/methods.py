"""Section `methods`: every method at the tokens of so many listwise passes, by judge and size.

Judges are fitted to recorded verdicts; how their noise grows with the list, which the records
cannot tell, is swept: a share of the noise more per further trajectory of a list.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.content import Labelled, truth_by_case
from benchmarks.judges.fit import fitted
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.ranking import figures
from benchmarks.ranking.arms import Bench, Outcome, at, bench, made_up
from benchmarks.ranking.report import Report, Row
from benchmarks.ranking.ruler import rule_labelled
from podium_service.ranking.methods.listwise import MAX_LISTWISE_ITEMS

SWEPT, OTHERS = "PaLM2/best", ("GPT-4/best", "Falcon/best")
GROWTHS, USUAL_GROWTH = (0.0, 0.03, 0.1), 0.03
SIZES = {8: 60, 32: 20}  # and how many groups
GROWN_SIZE = 32
CURVE_SIZE, CURVE_BUDGETS = 8, (2, 12)
BUDGET = 6  # listwise passes; at 4, pairs do not even link a group of short trajectories
WARM = 20  # enough past groups to learn from
SPREAD, GRID = 0.12, 0.05
BLOCK = 5
SHAPES = ("linear", "primacy", "random")
# Tokens a call of each form, by method; measured once for each size.
PILOTS: dict[str, dict[str, Any]] = {
    "listwise": {"method": "listwise", "passes": 1, "audit": 0},
    "subsets": {"method": "subsets", "passes": 1, "audit": 0},
    "pairwise": {"method": "pairwise"},
    "pointwise": {"method": "pointwise", "passes": 1, "audit": 0},
    "best_of": {"method": "best_of", "passes": 1, "audit": 0},
}

Point = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One judge, one size, one budget in listwise passes."""

    judge: str
    growth: float
    size: int
    budget: int


async def run(report: Report) -> None:
    groups = _groups(report)
    points = await _table(report, _cells(SWEPT, groups), groups)
    if report.settings.quick:
        return
    for budget in CURVE_BUDGETS:
        points += await _table(report, [Cell(SWEPT, USUAL_GROWTH, CURVE_SIZE, budget)], groups)
    report.curve("methods", points)
    report.curve("methods_title", f"{SWEPT.partition('/')[0]}-like judge, {CURVE_SIZE} a group")


async def run_growth(report: Report) -> None:
    """Run section `growth`: the same where the noise grows with the list by less or by more."""
    if report.settings.quick:
        return
    groups = _groups(report)
    for growth in GROWTHS:
        if growth != USUAL_GROWTH:
            await _table(report, [Cell(SWEPT, growth, GROWN_SIZE, BUDGET)], groups)


async def run_others(report: Report) -> None:
    """Run section `others`: the same with a better and a worse judge."""
    if report.settings.quick:
        return
    groups = _groups(report)
    for judge in OTHERS:
        await _table(report, _cells(judge, groups), groups)


def _cells(judge: str, sizes: Iterable[int]) -> list[Cell]:
    return [Cell(judge, USUAL_GROWTH, size, BUDGET) for size in sizes]


def _groups(report: Report) -> dict[int, list[Labelled]]:
    rng, num = np.random.default_rng(5), report.settings.num
    sizes = {8: 12} if report.settings.quick else SIZES
    return {size: made_up(WARM + num(most, 12), size, "hard", rng) for size, most in sizes.items()}


async def _table(
    report: Report, cells: Sequence[Cell], groups: dict[int, list[Labelled]]
) -> list[Point]:
    """Print a table over all cells; returns the points of the curve that are among them."""
    rows: list[Row] = []
    points: list[Point] = []
    first = cells[0]
    for cell in cells:
        found, whole = await _cell(report, cell, groups[cell.size])
        rows += [_row(cell, name, outcomes, whole) for name, outcomes in found.items()]
        if (cell.judge, cell.growth, cell.size) == (SWEPT, USUAL_GROWTH, CURVE_SIZE):
            points += [_point(name, outcomes) for name, outcomes in found.items() if outcomes]
    budget = f"tokens of {first.budget} listwise passes"
    title = f"Methods: like {first.judge}, noise growth {first.growth:g}, {budget}"
    if len(cells) == 1:
        title += f", N={first.size}"
    report.table(title, rows)
    return points


def _point(name: str, outcomes: Sequence[Outcome]) -> Point:
    return {
        "label": name,
        "tokens": figures.tokens(outcomes),
        "tau": figures.tau_means(outcomes),
    }


def _row(cell: Cell, name: str, outcomes: Sequence[Outcome], whole: float) -> Row:
    row: dict[str, Any] = {"method": name, "N": str(cell.size)}
    row |= {label: figure(outcomes) for label, figure in figures.FIGURES.items()}
    spent = figures.tokens(outcomes).value or 0.0
    return row | {
        "calls": figures.calls(outcomes).value,
        "tokens": spent,
        "of the budget": spent / whole,
    }


async def _cell(
    report: Report, cell: Cell, groups: list[Labelled]
) -> tuple[dict[str, list[Outcome]], float]:
    """Return outcomes by method, and the budget in tokens."""
    judges = _simulated(cell)
    with serving_apart(judges, truth_by_case(groups)) as urls:
        costs = await _tokens_per_call(urls["with"], groups[:6])
        whole = cell.budget * costs["listwise"]
        found: dict[str, list[Outcome]] = {
            "RULER": await rule_labelled(urls["ruler"], groups[WARM:])
        }
        for name, settings in _arms(cell, costs, urls).items():
            async with bench(settings) as held:
                found[name] = await _warmed(held, groups)
                failed = len(held.failures)
            report.say(f"methods: {cell.judge}, N={cell.size}, {name}, {failed} failed")
    return found, whole


async def _warmed(held: Bench, groups: Sequence[Labelled]) -> list[Outcome]:
    await held.judge("arm", groups[:WARM])
    return await held.judge("arm", groups[WARM:])


def _simulated(cell: Cell) -> dict[str, SimulatedJudge]:
    judge = SimulatedJudge(
        by_case({}), noise_growth=cell.growth, spread=SPREAD, grid=GRID,
        **fitted()[cell.judge].traits(),
    )  # fmt: skip
    jurors = {
        f"juror{seed}": replace(judge, seed=seed, slot_shape=shape)
        for seed, shape in enumerate(SHAPES)
    }
    return {"ruler": judge, "with": judge, "without": replace(judge, logprobs=False), **jurors}


async def _tokens_per_call(url: str, groups: Sequence[Labelled]) -> dict[str, float]:
    costs = {}
    async with bench({name: at(url, **settings) for name, settings in PILOTS.items()}) as held:
        for name in PILOTS:
            outcomes = await held.judge_all(name, groups)
            costs[name] = sum(o.tokens for o in outcomes) / sum(o.calls for o in outcomes)
    return costs


def _arms(
    cell: Cell, costs: Mapping[str, float], urls: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the judges file of each arm; the judge `arm` is the one to ask."""
    size, url = cell.size, urls["with"]
    whole = cell.budget * costs["listwise"]
    calls = {name: max(1, int(whole / cost)) for name, cost in costs.items()}
    dealt: dict[str, Any] = {
        "method": "subsets",
        "block_size": BLOCK,
        "budget": {"calls": calls["subsets"]},
    }
    dealt["passes"] = max(1, -(-calls["subsets"] * min(BLOCK, size) // size))
    # Two calls for each of N - 1 pairs are the least that links a group: more than the budget,
    # where trajectories are short.
    in_pairs: dict[str, Any] = {
        "method": "pairwise",
        "budget": {"calls": max(calls["pairwise"], 2 * (size - 1))},
    }
    in_pairs["passes"] = max(1, calls["pairwise"] // (size * (size - 1)))
    each = max(1, calls["pointwise"] // size)
    rounds: dict[str, Any] = {"method": "pointwise", "passes": each}
    shown = size if size <= MAX_LISTWISE_ITEMS else BLOCK
    letters: dict[str, Any] = {
        "method": "best_of",
        "block_size": BLOCK,
        "budget": {"calls": max(2, calls["best_of"])},
        "passes": max(2, -(-calls["best_of"] * shown // size)),
    }
    within = {"budget": {"tokens": int(whole)}, "max_tokens": 40 * size + 64, "passes": cell.budget}
    jurors = {
        f"juror{seed}": at(
            urls[f"juror{seed}"], method="listwise", seed=seed, passes=max(1, cell.budget // 3)
        )
        for seed in range(len(SHAPES))
    }
    return {
        "listwise": {"arm": at(url, method="listwise", passes=cell.budget)},
        "subsets of 5": {"arm": at(url, **dealt)},
        "pairwise, logprobs": {"arm": at(url, **in_pairs)},
        "pairwise": {"arm": at(urls["without"], **in_pairs)},
        "pointwise, logprobs": {"arm": at(url, **rounds)},
        "pointwise": {"arm": at(urls["without"], **rounds)},
        "best of, logprobs": {"arm": at(url, **letters)},
        # Once, whatever the budget: a real judge that is asked the same again answers the same.
        "yes or no, logprobs": {"arm": at(url, method="yes_no")},
        "auto": {"arm": at(url, method="auto", **within)},
        "jury of 3": {"arm": {"kind": "jury", "members": list(jurors)}, **jurors},
    }
