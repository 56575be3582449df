"""Rank by calls that each show all trajectories, in balanced orders, until the rewards settle."""

from podium_service.ranking.methods.designs import balanced_orders
from podium_service.ranking.methods.method import Method, Plan, Situation, is_settled
from podium_service.scoring.estimate import Estimate, estimate_passes

MAX_LISTWISE_ITEMS = 8  # longer lists are noisier than subsets of them


def plan(situation: Situation) -> Plan:
    """Ask `passes.min` orders at once, then more as long as they are worth it.

    Orders come in pairs, an order and its reverse, so that a preference for slots cancels. Once the
    judge's preference is known and removed, they come singly.
    """
    passes, num_answered = situation.passes, len(situation.verdicts)
    num_wanted = passes.min
    if passes.min <= num_answered < passes.max and not is_settled(
        situation, estimate(situation), num_answered
    ):
        is_slot_bias_known = situation.noise is not None and bool(situation.noise.slots)
        step = 1 if is_slot_bias_known or num_answered % 2 else 2
        num_wanted = min(passes.max, num_answered + step)
    if all(index in situation.verdicts for index in range(num_wanted)):
        return {}
    orders = balanced_orders(situation.num_items, passes.max, situation.seed)
    questions = dict(enumerate(orders[:num_wanted]))
    return situation.keep_missing(questions, situation.calls_left)


def estimate(situation: Situation) -> Estimate:
    """Fit pass and trajectory effects by least squares."""
    return estimate_passes(situation.num_items, situation.scored_passes, situation.noise)


LISTWISE = Method(
    form="scores",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: 1,
    call_size=lambda situation: situation.num_items,
)
