"""Compare judges over the groups that both of two ranked, from the store alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import fmean, stdev

from markupsafe import Markup

from podium_service.pages.figures import Series, scatter
from podium_service.pages.frame import Frame, render
from podium_service.store.history.judging import RankedGroup

MAX_LISTED = 50


@dataclass(frozen=True)
class Pair:
    """One group as two judges ranked it; `tau` is None where neither tells any two apart."""

    first: RankedGroup
    second: RankedGroup
    tau: float | None

    @property
    def do_winners_differ(self) -> bool:
        a, b = self.first.rewards, self.second.rewards
        return not {i for i, x in enumerate(a) if x == max(a)} & {
            i for i, x in enumerate(b) if x == max(b)
        }


@dataclass(frozen=True)
class Agreement:
    """The agreement of two judges: mean tau over `groups` groups, with its 95% interval.

    `low` and `high` are None for one group, which has no interval.
    """

    tau: float
    low: float | None
    high: float | None
    groups: int


@dataclass(frozen=True)
class Cost:
    """The cost of a judge for a group, and its mean agreement with the others."""

    judge: str
    usd: float
    tau: float


def render_compare(
    frame: Frame, ranked: Mapping[str, Sequence[RankedGroup]], first: str, second: str
) -> str:
    """Return the comparison of judges.

    Args:
        ranked: the last groups of each judge, newest first.
        first, second: the judges whose groups are listed; "" for the two that share most.
    """
    names = [name for name, groups in ranked.items() if groups]
    shared = {(a, b): match_groups(ranked[a], ranked[b]) for a, b in combinations(names, 2)}
    found = {pair: summarise(groups) for pair, groups in shared.items()}
    matrix = {**found, **{(b, a): each for (a, b), each in found.items()}}
    if not any(shared.values()):
        first = second = ""
    elif first not in ranked or second not in ranked or first == second:
        first, second = max(shared, key=lambda pair: len(shared[pair]))
    pairs = match_groups(ranked.get(first, ()), ranked.get(second, ()))
    costs = measure_costs(ranked, matrix)
    return render(
        "compare",
        frame,
        names=names,
        compared=[name for name in names if any(matrix.get((name, each)) for each in names)],
        matrix=matrix,
        first=first,
        second=second,
        pairs=sorted(pairs, key=lambda pair: 2.0 if pair.tau is None else pair.tau)[:MAX_LISTED],
        num_pairs=len(pairs),
        agreement=matrix.get((first, second)),
        costs=costs,
        cost_chart=_chart(costs),
    )


def match_groups(first: Sequence[RankedGroup], second: Sequence[RankedGroup]) -> list[Pair]:
    """Return the groups with one transcript, each once, as both judges ranked it last."""
    others: dict[bytes, RankedGroup] = {}
    for each in second:
        others.setdefault(each.transcript, each)
    return [
        Pair(each, other, tau_b(each.rewards, other.rewards))
        for each in first
        if (other := others.pop(each.transcript, None))
    ]


def summarise(pairs: Sequence[Pair]) -> Agreement | None:
    """Return the mean tau; None if no group has one."""
    taus = [pair.tau for pair in pairs if pair.tau is not None]
    if not taus:
        return None
    mean = fmean(taus)
    if len(taus) == 1:
        return Agreement(mean, None, None, 1)
    reach = 1.96 * stdev(taus) / sqrt(len(taus))
    return Agreement(mean, max(-1.0, mean - reach), min(1.0, mean + reach), len(taus))


def measure_costs(
    ranked: Mapping[str, Sequence[RankedGroup]], matrix: Mapping[tuple[str, str], Agreement | None]
) -> list[Cost]:
    """Return the mean cost of a group that was not in the store yet, of each judge with a price."""
    costs = []
    for judge, groups in ranked.items():
        paid = [each.cost_usd for each in groups if each.cost_usd is not None and not each.cached]
        taus = [each.tau for (a, _), each in matrix.items() if a == judge and each]
        if paid and taus:
            costs.append(Cost(judge, fmean(paid), fmean(taus)))
    return costs


def tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau_b: 0 where one side ties all items, None where both do.

    Source:
        Kendall 1945, Biometrika 33(3).
    """
    signs = [
        (_sign(first[i] - first[j]), _sign(second[i] - second[j]))
        for i, j in combinations(range(len(first)), 2)
    ]
    untied_a = sum(a != 0 for a, _ in signs)
    untied_b = sum(b != 0 for _, b in signs)
    if not untied_a or not untied_b:
        return None if untied_a == untied_b else 0.0
    return sum(a * b for a, b in signs) / sqrt(untied_a * untied_b)


def _sign(value: float) -> int:
    return (value > 1e-9) - (value < -1e-9)


def _chart(costs: Sequence[Cost]) -> Markup:
    if len(costs) < 2:
        return Markup()
    series = [Series(each.judge, [(each.usd, each.tau)]) for each in costs[:4]]
    return scatter("Agreement against cost", series, "US dollars a group")
