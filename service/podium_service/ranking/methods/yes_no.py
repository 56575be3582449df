"""Rank by calls that each ask whether one trajectory is correct and complete.

The score is the probability of a yes, which can be compared across groups. So groups that hold the
same trajectory, after the same messages, share the answer.
"""

from dataclasses import replace

from podium_service.judges.limits import Passes
from podium_service.ranking.methods import pointwise
from podium_service.ranking.methods.method import Method, Plan, Situation
from podium_service.scoring.estimate import Estimate


def plan(situation: Situation) -> Plan:
    """Ask about every trajectory `passes.min` times, and no more.

    A judge that gives probabilities repeats itself, so another pass would tell nothing.
    """
    passes = Passes(min=situation.passes.min, max=situation.passes.min)
    return pointwise.plan(replace(situation, passes=passes))


def estimate(situation: Situation) -> Estimate:
    """Average the probabilities of each trajectory."""
    return replace(pointwise.estimate(situation), scale="probability")


YES_NO = Method(
    form="yes_no",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: situation.num_items,
    call_size=lambda situation: 1,
    is_absolute=True,
    is_audited=False,
)
