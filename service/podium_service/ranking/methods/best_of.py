"""Rank by calls that each ask for the letter of the best of all trajectories, in balanced orders.

The log-probabilities of the letters are utilities of a multinomial logit, so they add up: pass,
trajectory and slot have effects on them, which least squares tells apart. A letter stands for a
slot, and a liking for either cancels over balanced orders. Large groups are shown in blocks.

Two passes, an order and its reverse, do not tell a liking for the middle or the ends of a list from
the worth of the trajectories there; rotated orders do. So four are the default.
"""

from dataclasses import replace

from podium_service.judges.limits import MAX_PASSES
from podium_service.ranking.methods import listwise, subsets
from podium_service.ranking.methods.method import Method, Plan, Situation
from podium_service.scoring.estimate import Estimate


def plan(situation: Situation) -> Plan:
    """Ask `passes.min` orders at once, then more as long as they are worth it."""
    return subsets.plan(_bound(situation))


def estimate(situation: Situation) -> Estimate:
    """Fit pass, trajectory and slot effects on log-probabilities by least squares.

    Source:
        McFadden 1974, "Conditional logit analysis of qualitative choice behavior"; the logarithms
        of its probabilities are linear in its effects (Theil 1969, International Economic Review
        10(3)).
    """
    return replace(listwise.estimate(situation), scale="log_probability")


def most_passes(num_items: int) -> int:
    """Return how often a group is shown at most.

    A pair has two orders, and is shown in no more: the same question has the same probabilities.
    """
    return 2 if num_items == 2 else MAX_PASSES


def _bound(situation: Situation) -> Situation:
    """Return the situation with blocks that hold the whole group, if it is not too large."""
    if situation.num_items > listwise.MAX_LISTWISE_ITEMS:
        return situation
    passes, most = situation.passes, most_passes(situation.num_items)
    bounds = {"min": min(passes.min, most), "max": min(passes.max, most)}
    passes = passes.model_copy(update=bounds)
    block_size = max(situation.block_size, situation.num_items)
    return replace(situation, block_size=block_size, passes=passes)


BEST_OF = Method(
    form="best",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: subsets.SUBSETS.min_calls(_bound(situation)),
    call_size=lambda situation: subsets.SUBSETS.call_size(_bound(situation)),
)
