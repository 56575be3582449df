"""All trajectories in every call, in balanced orders, until the rewards are settled."""

from podium_service.ranking.methods.designs import balanced_orders
from podium_service.ranking.methods.method import (
    Method,
    Plan,
    Situation,
    is_settled,
    keep_affordable,
)
from podium_service.scoring.estimate import Estimate, estimate_passes


def plan(situation: Situation) -> Plan:
    """`passes.min` orders at once, then more as long as they are worth it.

    Orders come in pairs, an order and its reverse, so that a liking for slots cancels; singly once
    the judge's liking is known.
    """
    passes = situation.passes
    asked = len(situation.verdicts)
    wanted = passes.min
    if passes.min <= asked < passes.max and not is_settled(estimate_scores(situation), passes):
        known = situation.noise is not None and bool(situation.noise.slots)
        wanted = min(passes.max, asked + (1 if known or asked % 2 else 2))
    missing = [index for index in range(wanted) if index not in situation.verdicts]
    if not missing:
        return {}
    orders = balanced_orders(situation.num_items, passes.max, situation.seed)
    return keep_affordable({index: orders[index] for index in missing}, situation.calls_left)


def estimate_scores(situation: Situation) -> Estimate:
    """Fit pass and trajectory effects by least squares."""
    return estimate_passes(
        situation.num_items, situation.scored, situation.noise, level=situation.level
    )


LISTWISE = Method(
    form="scores",
    plan=plan,
    estimate=estimate_scores,
    min_calls=lambda situation: 1,
    shown=lambda situation: situation.num_items,
)
