"""Rank by calls that each rate one trajectory by itself, where contexts hold no more."""

from math import inf

from podium_service.ranking.methods.method import Method, Plan, Situation, is_settled
from podium_service.scoring.estimate import Estimate, estimate_ratings


def plan(situation: Situation) -> Plan:
    """Rate every trajectory `passes.min` times at once, then all once more while it is worth it.

    A budget that is too small for all questions goes to whole rounds, so that all trajectories are
    rated equally often, and to one round at least.
    """
    num_items, passes = situation.num_items, situation.passes
    num_wanted, num_answered = passes.min * num_items, len(situation.verdicts)
    if num_wanted <= num_answered < passes.max * num_items and not is_settled(
        situation, estimate(situation), situation.times_shown
    ):
        num_wanted = min(passes.max * num_items, num_answered + num_items)
    questions = {index: [index % num_items] for index in range(num_wanted)}
    missing = situation.keep_missing(questions, inf)
    if len(missing) <= situation.calls_left:
        return missing
    whole_rounds = situation.calls_left // num_items * num_items
    return situation.keep_missing(questions, max(whole_rounds, num_items - num_answered))


def estimate(situation: Situation) -> Estimate:
    """Average the ratings of each trajectory; their differences tell the judge's noise."""
    ratings: list[list[float]] = [[] for _ in range(situation.num_items)]
    for (item,), (score,) in situation.scored_passes:
        ratings[item].append(score)
    return estimate_ratings(ratings, situation.noise)


POINTWISE = Method(
    form="rating",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: situation.num_items,
    call_size=lambda situation: 1,
)
