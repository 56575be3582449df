"""One trajectory a call, rated by itself: for judges and contexts that hold no more."""

from podium_service.ranking.methods.method import (
    Method,
    Plan,
    Situation,
    is_settled,
    keep_affordable,
)
from podium_service.scoring.estimate import Estimate, estimate_ratings


def plan(situation: Situation) -> Plan:
    """Every trajectory `passes.min` times at once, then rounds of all as long as worth it."""
    num_items, passes = situation.num_items, situation.passes
    wanted = passes.min * num_items
    asked = len(situation.verdicts)
    if wanted <= asked < passes.max * num_items and not is_settled(estimate(situation), passes):
        wanted = min(passes.max * num_items, asked + num_items)
    questions = {index: [index % num_items] for index in range(wanted)}
    missing = {
        index: order for index, order in questions.items() if index not in situation.verdicts
    }
    whole_rounds = situation.calls_left // num_items * num_items
    fits = len(missing) <= situation.calls_left
    return missing if fits else keep_affordable(missing, max(whole_rounds, num_items - asked))


def estimate(situation: Situation) -> Estimate:
    """The mean rating of each; the noise is how ratings of the same one differ."""
    ratings: list[list[float]] = [[] for _ in range(situation.num_items)]
    for (item,), (score,) in situation.scored:
        ratings[item].append(score)
    return estimate_ratings(ratings, situation.noise, level=situation.level)


POINTWISE = Method(
    form="rating",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: situation.num_items,
    shown=lambda situation: 1,
)
