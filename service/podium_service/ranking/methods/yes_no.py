"""Rank by calls that each ask whether one trajectory is correct and complete.

The score is the probability of a yes, which can be compared across groups. So groups that hold the
same trajectory, after the same messages, share the answer.
"""

from dataclasses import replace

from podium_service.ranking.methods import pointwise
from podium_service.ranking.methods.method import Method, Situation
from podium_service.scoring.estimate import Estimate


def estimate(situation: Situation) -> Estimate:
    """Average the probabilities of each trajectory."""
    return replace(pointwise.estimate(situation), scale="probability")


YES_NO = Method(
    form="yes_no",
    plan=pointwise.plan,
    estimate=estimate,
    min_calls=lambda situation: situation.num_items,
    call_size=lambda situation: 1,
    is_absolute=True,
)
