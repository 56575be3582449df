"""Section `targets`: N=8, truth sd 1, noise 1 sd, slot bias .5 sd, one judge.

Every arm is a bench of its own, warmed up by the same 200 groups (4 passes; easy, hard and no
signal in equal parts), then asked about all kinds, shuffled; adaptive arms about equal parts.
"Equal tau" allows .005.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.content import Labelled, truth_by_case
from benchmarks.judges.server import serving_apart
from benchmarks.judges.simulated import SimulatedJudge, by_case
from benchmarks.ranking import calibration, figures
from benchmarks.ranking.arms import GRID, SPREAD, Outcome, at, bench, made_up
from benchmarks.ranking.bound import least_share_of_equals
from benchmarks.ranking.report import Report, Row
from benchmarks.ranking.ruler import rule_labelled
from podium_service.scoring.bootstrap import Measure
from podium_service.scoring.estimate import estimate_passes

SIZE = 8
KINDS = ("hard", "easy", "none")
Passes = int | dict[str, float]
FIXED: dict[str, Passes] = {"1 pass": 1, "2 passes": 2, "4 passes": 4, "6 passes": 6}
ADAPTIVE: dict[str, Passes] = {
    "default 1-4": {"min": 1, "max": 4},
    "1-4, cost 10": {"min": 1, "max": 4, "rollout_cost": 10},
    "1-8, cost 10": {"min": 1, "max": 8, "rollout_cost": 10},
}
ROLLOUT_COSTS = (1, 10)
Order = npt.NDArray[np.int64]
Groups = dict[str, list[Labelled]]
Arm = dict[str, list[Outcome]]


async def run(report: Report) -> None:
    rng = np.random.default_rng(4)
    num = report.settings.num
    groups: Groups = {
        "hard": made_up(num(2000, 40), SIZE, "hard", rng),
        "easy": made_up(num(800, 15), SIZE, "easy", rng),
        "none": made_up(num(800, 15), SIZE, "none", rng),
    }
    num_warm = (24 if report.settings.quick else 200) // 3 + 1
    warm = [each for kind in KINDS for each in made_up(num_warm, SIZE, kind, rng)]
    rng.shuffle(warm)
    truth = truth_by_case([*warm, *(each for some in groups.values() for each in some)])
    settings = {**FIXED, **ADAPTIVE}
    names = {name: f"arm{index}" for index, name in enumerate([*settings, "RULER", "again"])}
    judge = SimulatedJudge(by_case({}), slot_bias=0.5, spread=SPREAD, grid=GRID)
    judges = {name: replace(judge, seed=int(name == names["again"])) for name in names.values()}
    arms: dict[str, Arm] = {}
    with serving_apart(judges, truth) as urls:
        url = urls[names["RULER"]]
        ruler = {kind: await rule_labelled(url, some) for kind, some in groups.items()}
        for name, passes in settings.items():
            report.say(f"targets: {name}")
            given = groups if name in FIXED else _thirds(groups)
            arms[name] = await _arm(urls[names[name]], passes, warm, given, rng)
        hard = groups["hard"][: num(300, 8)]
        flipped = await _flips(urls[names["again"]], hard, warm, ruler["hard"], arms, rng)
    _quality(report, ruler["hard"], arms, flipped)
    _adaptive(report, {"RULER": ruler, **arms})
    _no_signal(report, arms)
    calibration.show(report, {name: arms[name]["hard"] for name in arms})


async def _arm(
    url: str, passes: Passes, warm: Sequence[Labelled], groups: Groups, rng: np.random.Generator
) -> Arm:
    mixed = [(kind, each) for kind, some in groups.items() for each in some]
    order = rng.permutation(len(mixed))
    async with bench({"warm": at(url, passes=4), "arm": at(url, passes=passes, audit=0)}) as held:
        await held.judge("warm", warm)
        found = await held.judge_all("arm", [mixed[index][1] for index in order])
    by_name = {each.group.group["group_id"]: each for each in found}
    return {
        kind: [by_name[each.group["group_id"]] for each in some] for kind, some in groups.items()
    }


def _thirds(groups: Groups) -> Groups:
    """Take as many of each kind: what is learnt of the mix decides when to stop."""
    return {kind: some[: len(groups["none"])] for kind, some in groups.items()}


async def _flips(
    url: str,
    groups: list[Labelled],
    warm: Sequence[Labelled],
    ruled: Sequence[Outcome],
    arms: dict[str, Arm],
    rng: np.random.Generator,
) -> dict[str, Measure]:
    """Rank the same groups again: permuted, with other noise and orders and an empty store."""
    orders = [rng.permutation(SIZE) for _ in groups]
    permuted = [_permuted(each, order) for each, order in zip(groups, orders, strict=True)]
    again = await rule_labelled(url, permuted)
    back = [_restored(each.scores, order) for each, order in zip(again, orders, strict=True)]
    found = {"RULER": figures.flips([each.scores for each in ruled[: len(groups)]], back)}
    for name, passes in (FIXED | ADAPTIVE).items():
        judges = {"warm": at(url, passes=4, seed=1), "arm": at(url, passes=passes, audit=0, seed=1)}
        async with bench(judges) as held:
            await held.judge("warm", warm)
            outcomes = await held.judge_all("arm", permuted)
        restored = [
            _restored(each.rewards, order) for each, order in zip(outcomes, orders, strict=True)
        ]
        first = [each.rewards for each in arms[name]["hard"][: len(groups)]]
        found[name] = figures.flips(first, restored)
    return found


def _permuted(group: Labelled, order: Order) -> Labelled:
    members = [group.group["trajectories"][index] for index in order]
    return Labelled(
        {**group.group, "trajectories": members},
        [group.cases[index] for index in order],
        [group.truth[index] for index in order],
    )


def _restored(values: Sequence[float], order: Order) -> list[float]:
    restored = [0.0] * len(values)
    for place, index in enumerate(order):
        restored[index] = values[place]
    return restored


def _quality(
    report: Report,
    ruled: Sequence[Outcome],
    arms: dict[str, Arm],
    flipped: dict[str, Measure],
) -> None:
    rows: list[Row] = []
    curve = []
    for name, outcomes in [("RULER", ruled), *((n, arms[n]["hard"]) for n in arms)]:
        found = {label: figure(outcomes) for label, figure in figures.FIGURES.items()}
        passes = float(np.mean([each.passes for each in outcomes]))
        limit = ceiling(round(passes)) if name in FIXED or name == "RULER" else None
        spent = figures.tokens(outcomes)
        cost = {"tokens": spent.value, "calls": figures.calls(outcomes).value}
        rows.append({"arm": name, "ceiling": limit, **found, "flips": flipped[name], **cost})
        curve.append({"label": name, "tokens": spent, "tau": found["tau, means"]})
        if name in ("4 passes", "6 passes"):
            least = 0.69 if name == "4 passes" else 0.74
            report.target(f"tau of {name}, means", found["tau, means"], least=least)
    report.table(f"Quality: N={SIZE}, truth sd 1, noise 1, slot bias .5, {len(ruled)} groups", rows)
    report.curve("targets", curve)
    report.curve("ceilings", {str(k): ceiling(k) for k in (1, 2, 4, 6)})


def ceiling(passes: int) -> float:
    """Return Kendall's tau between normal truth and the mean of so many passes.

    They have noise only, both of sd 1, without slots or grid: 2/pi asin(sqrt(k / (k + 1))).
    """
    return float(2 / np.pi * np.arcsin(np.sqrt(passes / (passes + 1))))


def _adaptive(report: Report, arms: dict[str, Arm]) -> None:
    """Compare adaptive with fixed passes on thirds: as many groups of each kind."""
    rows: list[Row] = []
    num = len(arms["4 passes"]["none"])
    thirds = {name: {kind: arm[kind][:num] for kind in KINDS} for name, arm in arms.items()}
    fixed = thirds["4 passes"]
    fixed_tokens = [each.tokens for kind in KINDS for each in fixed[kind]]
    fixed_taus = _taus(fixed)
    curve = []
    for name, arm in thirds.items():
        spent = [each.tokens for kind in KINDS for each in arm[kind]]
        share = figures.ratio(list(zip(map(float, spent), map(float, fixed_tokens), strict=True)))
        gain = figures.difference(_taus(arm), fixed_taus)
        row: dict[str, Measure | float | str] = {
            "arm": name, "tokens, share of 4 passes": share,
            "tau, means": figures.mean(_taus(arm)), "less 4 passes": gain,
            "tau, rewards": figures.tau_rewards([*arm["easy"], *arm["hard"]]),
            **{f"cosine² per cost {cost}": _yield(arm, cost) for cost in ROLLOUT_COSTS},
        }  # fmt: skip
        for kind in KINDS:
            row[f"passes, {kind}"] = float(np.mean([each.passes for each in arm[kind]]))
            row[f"tau, {kind}"] = figures.tau_means(arm[kind]) if kind != "none" else "-"
        rows.append(row)
        spending = figures.mean([float(each) for each in spent])
        curve.append({"label": name, "tokens": spending, "tau": row["tau, means"]})
    for name, cost in (("default 1-4", 1), ("1-8, cost 10", 10)):
        best = max(_yield(thirds[each], cost).value or 0.0 for each in FIXED)
        share_of_best = (_yield(thirds[name], cost).value or 0.0) / best
        report.target(f"cosine² per cost of {name}, share of the best", share_of_best, least=0.98)
    report.curve("mix", curve)
    report.table(f"Adaptive stopping: thirds easy, hard, no signal; {3 * num} groups", rows)


def _yield(arm: Arm, rollout_cost: float) -> Measure:
    """Return the squared cosine with the true advantages over the cost of groups and passes."""
    return figures.ratio([
        (figures.squared_cosine(each), rollout_cost + each.passes)
        for kind in KINDS for each in arm[kind]
    ])  # fmt: skip


def _taus(arm: Arm) -> list[float]:
    """Return tau of each group that has signal."""
    both = [*arm["easy"], *arm["hard"]]
    return [figures.tau(each.means, each.group.truth) or 0.0 for each in both]


def _no_signal(report: Report, arms: dict[str, Arm]) -> None:
    rows: list[Row] = []
    for name, arm in arms.items():
        shares = {
            f"equals over hard{words}": _share(*(squares(arm[kind]) for kind in ("none", "hard")))
            for words, squares in (("", _squares), (", no past", _squares_alone))
        }
        easy = _share(_squares(arm["none"]), _squares(arm["easy"]))
        fixed = FIXED.get(name)
        least = least_share_of_equals(fixed, SIZE) if isinstance(fixed, int) else None
        rows.append({"arm": name, **shares, "at the best": least, "equals over easy": easy})
        if name == "4 passes":
            share = shares["equals over hard"]
            report.target("squared advantage of equals over that of hard groups", share, most=0.1)
    report.table("Groups of equals: mean squared advantage over that of other groups", rows)


def _share(equals: Sequence[float], others: Sequence[float]) -> Measure:
    return figures.ratio(list(zip(equals, others, strict=False)))


def _squares(outcomes: Sequence[Outcome]) -> list[float]:
    return figures.squared_advantages([each.rewards for each in outcomes])


def _squares_alone(outcomes: Sequence[Outcome]) -> list[float]:
    """Let each group tell its own noise: the same verdicts without past groups."""
    rewards = []
    for each in outcomes:
        passes = [(verdict.order, verdict.scores) for verdict in each.verdicts]
        rewards.append(each.of(estimate_passes(SIZE, passes)))
    return figures.squared_advantages(rewards)
