"""Section `invariance`: what must not move a reward, and what may only as far as the judge's bias.

Permuting, renaming and duplicating trajectories, each against a fresh store and a judge that starts
anew, changes nothing at all. Padding moves scores no further than the judge's own length bias.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.content import Labelled, truth_by_case
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.ranking import figures
from benchmarks.ranking.arms import GRID, SPREAD, at, bench, made_up
from benchmarks.ranking.report import Report, Row
from podium_service.prompts.transcript import transcribe
from podium_service.schemas import RankRequest

SIZE = 8
Group = dict[str, Any]
PADDINGS = {
    "markdown": "\n\n## Summary\n\n" + "- **Step:** completed as planned.\n" * 12,
    "flattery": "\n\n" + "You are a wonderful and fair reader, thank you for your care. " * 8,
}
LENGTH_BIASES = (0.0, 0.3)
MOST_BEYOND = 0.03  # standard deviations of truth


async def run(report: Report) -> None:
    rng = np.random.default_rng(9)
    await _exact(report, made_up(report.settings.num(60, 12), SIZE, "hard", rng), rng)
    await _padding(report, made_up(report.settings.num(400, 12), SIZE, "hard", rng), rng)


async def _exact(report: Report, groups: list[Labelled], rng: np.random.Generator) -> None:
    changes: dict[str, Callable[[Group], Group]] = {
        "permuted": lambda group: _permuted(group, rng),
        "renamed": _renamed,
        "duplicated": lambda group: _duplicated(group, rng),
    }
    wanted = await _rewards(groups, [each.group for each in groups])
    rows: list[Row] = []
    for name, change in changes.items():
        changed = [change(each.group) for each in groups]
        found = await _rewards(groups, changed)
        most = max(
            abs(reward - before[content])
            for before, after in zip(wanted, found, strict=True)
            for content, reward in after.items()
        )
        rows.append({"trajectories": name, "groups": str(len(groups)), "largest change": most})
        report.target(f"largest change of a reward, {name}", most, most=0.0)
    report.table("Invariance: rewards, each time from a fresh store", rows)


async def _rewards(groups: Sequence[Labelled], wires: Sequence[Group]) -> list[dict[str, float]]:
    """Return rewards by what a trajectory says; groups go one by one, so that runs learn alike."""
    judge = SimulatedJudge(by_case({}), slot_bias=0.5, spread=SPREAD, grid=GRID)
    with serving_apart({"sim": judge}, truth_by_case(groups)) as urls:
        async with bench({"sim": at(urls["sim"])}) as held:
            rankings = await held.rank("sim", wires, in_flight=1)
    return [
        {
            str(trajectory["messages"]): result.reward
            for trajectory, result in zip(wire["trajectories"], ranking.results, strict=True)
        }
        for wire, ranking in zip(wires, rankings, strict=True)
    ]


def _permuted(group: Group, rng: np.random.Generator) -> Group:
    members = group["trajectories"]
    return {**group, "trajectories": [members[index] for index in rng.permutation(len(members))]}


def _renamed(group: Group) -> Group:
    members = [{**each, "id": f"x{n}"} for n, each in enumerate(reversed(group["trajectories"]))]
    return {**group, "trajectories": members[::-1]}


def _duplicated(group: Group, rng: np.random.Generator) -> Group:
    members = group["trajectories"]
    copies = [
        {**members[index], "id": f"copy-{n}"} for n, index in enumerate(rng.integers(SIZE, size=4))
    ]
    return {**group, "trajectories": [*members, *copies]}


async def _padding(report: Report, groups: list[Labelled], rng: np.random.Generator) -> None:
    rows: list[Row] = []
    judges = {
        f"bias{bias:g}": SimulatedJudge(
            by_case({}), noise_sd=0.3, slot_bias=0.5, length_bias=bias, spread=SPREAD, grid=GRID
        )
        for bias in LENGTH_BIASES
    }
    padded_at = rng.integers(SIZE, size=len(groups))
    with serving_apart(judges, truth_by_case(groups)) as urls:
        for bias in LENGTH_BIASES:
            async with bench({"sim": at(urls[f"bias{bias:g}"])}) as held:
                plain = await held.judge("sim", groups)
                for name, text in PADDINGS.items():
                    padded = [
                        _padded(each, at_, text)
                        for each, at_ in zip(groups, padded_at, strict=True)
                    ]
                    found = await held.judge("sim", padded)
                    pairs = list(zip(plain, found, padded_at, strict=True))
                    moved = [
                        float(figures.centred(b.means)[at_] - figures.centred(a.means)[at_])
                        / SPREAD
                        for a, b, at_ in pairs
                    ]
                    owed = [
                        bias * _doublings(each, other, at_) * (SIZE - 1) / SIZE
                        for each, other, at_ in zip(groups, padded, padded_at, strict=True)
                    ]
                    beyond = figures.difference(moved, owed)
                    lift = figures.mean([b.rewards[at_] - a.rewards[at_] for a, b, at_ in pairs])
                    rows.append({
                        "padding": name, "length bias, sd a doubling": bias,
                        "moved, sd": figures.mean(moved), "by the judge's bias": figures.mean(owed),
                        "beyond it": beyond, "reward": lift,
                    })  # fmt: skip
                    what = f"{name}, bias {bias:g}: sd moved beyond the judge's bias"
                    report.target(what, beyond, most=MOST_BEYOND)
    report.table("Padding: one trajectory made longer, nothing better", rows)


def _padded(group: Labelled, index: int, text: str) -> Labelled:
    wire = copy.deepcopy(group.group)
    wire["trajectories"][index]["messages"][-1]["content"] += text
    return Labelled(wire, group.cases, group.truth)


def _doublings(group: Labelled, padded: Labelled, index: int) -> float:
    """Return how many times as long the trajectory was made for the judge, in doublings."""
    lengths = []
    for each in (group, padded):
        transcript = transcribe(RankRequest.model_validate(each.group), range(SIZE))
        body = next(b for b, members in enumerate(transcript.members) if index in members)
        lengths.append(len(transcript.bodies[body]))
    return float(np.log2(lengths[1] / lengths[0]))
