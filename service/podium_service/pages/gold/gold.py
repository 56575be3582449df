"""The page of gold: sets of groups to put in order, and how far each judge agrees with people."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from podium_service.pages.frame import Frame, render
from podium_service.scoring.agreement import agreement
from podium_service.scoring.bootstrap import Bootstrap, Measure
from podium_service.store.people.gold import GoldOrder, mean_labels
from podium_service.store.people.gold_sets import GoldSet, JudgedGold

_LISTED = 20
_NONE = "no group that it ranked has an order with a difference"


@dataclass(frozen=True)
class Wrong:
    """A group whose order by a judge differs from that of people."""

    judged: JudgedGold
    tau: float
    is_top_wrong: bool


@dataclass(frozen=True)
class JudgeOnGold:
    """One judge against the people.

    Attributes:
        groups: how many groups of gold it ranked; `missing` are the others.
        tau, top1: mean over groups with its 95% interval, as in the card of a calibration.
        missing_usd: about what the others would cost; None where no cost is known.
        wrong: the groups that it got most wrong.
    """

    judge: str
    groups: int
    missing: int
    tau: Measure
    top1: Measure
    missing_usd: float | None
    wrong: list[Wrong]


def render_gold(
    frame: Frame,
    sets: Sequence[GoldSet],
    orders: Sequence[GoldOrder],
    judged: Sequence[JudgedGold],
    *,
    chosen: str = "",
    judges: Sequence[str] = (),
    is_cut_off: bool = False,
) -> str:
    """Return the page of gold.

    Args:
        orders: of all people.
        judged: rankings of the groups that have an order.
        chosen: the judge whose wrong groups are listed; "" for all.
        judges: names of the judges that may be calibrated.
        is_cut_off: whether there may be older orders.
    """
    measured = measure_judges(orders, judged, judges)
    return render(
        "gold",
        frame,
        sets=sets,
        num_orders=len(orders),
        num_groups=len({each.transcript for each in orders}),
        num_people=len({each.person.api_key_id for each in orders}),
        judges=measured,
        shown=[each for each in measured if each.wrong and chosen in ("", each.judge)],
        chosen=chosen,
        is_cut_off=is_cut_off,
    )


def measure_judges(
    orders: Sequence[GoldOrder], judged: Sequence[JudgedGold], names: Sequence[str] = ()
) -> list[JudgeOnGold]:
    """Return how far each judge agrees with people, the best one first.

    The label of an attempt is the share of the others that people put below it, their mean.
    """
    ranks: defaultdict[bytes, list[list[float]]] = defaultdict(list)
    for order in orders:
        ranks[order.transcript].append(order.ranks)
    labels = {transcript: mean_labels(some) for transcript, some in ranks.items()}
    by_judge: defaultdict[str, list[JudgedGold]] = defaultdict(list)
    for each in judged:
        if len(labels.get(each.transcript, ())) == len(each.rewards):
            by_judge[each.judge].append(each)
    draw = cache(Bootstrap)  # the draws for a number of groups are the same for each judge
    found = [
        _measure(name, by_judge[name], labels, draw(max(1, len(by_judge[name]))))
        for name in {*by_judge, *names}
    ]
    return sorted(found, key=lambda each: (-(each.tau.value or -2.0), each.judge))


def _measure(
    judge: str,
    judged: Sequence[JudgedGold],
    labels: dict[bytes, list[float]],
    bootstrap: Bootstrap,
) -> JudgeOnGold:
    taus: list[float | None] = []
    tops: list[float | None] = []
    wrong: list[Wrong] = []
    for each in judged:
        found = agreement(each.rewards, labels[each.transcript])
        taus.append(found.tau_b if found else None)
        tops.append(found.top1 if found else None)
        if found and (found.tau_b < 0 or found.top1 == 0):
            wrong.append(Wrong(each, found.tau_b, found.top1 == 0))
    missing = len(labels) - len(judged)
    costs = [each.cost_usd for each in judged if each.cost_usd is not None]
    return JudgeOnGold(
        judge,
        len(judged),
        missing,
        bootstrap.mean(taus, _NONE),
        bootstrap.mean(tops, _NONE),
        missing * fmean(costs) if costs else None,
        sorted(wrong, key=lambda one: one.tau)[:_LISTED],
    )
