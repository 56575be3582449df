"""Two trajectories a call, in both orders; the probabilities of both are averaged, then fitted.

All pairs if the budget holds them, else the pairs that teach most, a batch at a time.
"""

from collections import Counter
from dataclasses import replace

from podium_service.ranking.methods.method import Method, Plan, Situation, is_settled
from podium_service.scoring.bradley_terry import (
    Pair,
    choose_first_pairs,
    choose_next_pairs,
    fit_pairs,
)
from podium_service.scoring.estimate import Estimate, estimate_passes, estimate_strengths
from podium_service.scoring.strengths import Strengths

_CALLS_PER_TRAJECTORY = 8  # at most, where no budget says otherwise


def plan(situation: Situation) -> Plan:
    """Both orders of every pair wanted next. A question's index names its pair, order and round."""
    num_items, passes = situation.num_items, situation.passes
    pending = _other_orders(situation)
    if pending:
        return dict(list(pending.items())[: int(min(len(pending), situation.calls_left))])
    asked = Counter(_pair(situation, index) for index in situation.verdicts)
    total = sum(asked.values())
    left = int(min(situation.calls_left, _CALLS_PER_TRAJECTORY * num_items * passes.max - total))
    pairs = num_items * (num_items - 1) // 2
    if left >= 2 * pairs * passes.max - total:
        wanted = _rounds_of_all(situation, asked, total // (2 * pairs))
    elif not asked:
        wanted = choose_first_pairs(num_items, min(num_items, left // 2), situation.seed)
    elif left < 2:
        wanted = []
    else:
        wanted = _most_telling(situation, asked, left // 2)
    return _questions(situation, wanted)


def _rounds_of_all(situation: Situation, asked: Counter[Pair], rounds: int) -> list[Pair]:
    """All pairs `passes.min` times at once, then once more as long as that is worth it."""
    passes, num_items = situation.passes, situation.num_items
    if rounds >= passes.min and (
        rounds >= passes.max or is_settled(_estimate(situation, None), passes)
    ):
        return []
    until = max(passes.min, rounds + 1)
    every = choose_first_pairs(num_items, num_items * (num_items - 1) // 2, situation.seed)
    return [(i, j) for i, j in every for _ in range(until - asked[min(i, j), max(i, j)] // 2)]


def _most_telling(situation: Situation, asked: Counter[Pair], left: int) -> list[Pair]:
    """The next batch of at most `left` pairs; none once the group is settled."""
    strengths = _strengths(situation)
    if is_settled(_estimate(situation, strengths), situation.passes):
        return []
    batch = min(left, max(1, situation.num_items // 2, left // 2))
    return choose_next_pairs(strengths, asked, batch, seed=situation.seed)


def estimate(situation: Situation) -> Estimate:
    """Bradley-Terry on choices: each is a coin flip. Least squares on probabilities, which are
    measurements, and on choices once past groups have told how well the judge repeats itself, or
    where a single pair has no other to support it."""
    found = _estimate(situation, None)
    # What coin flips say of the judge's noise is kept all the same, for the groups to come.
    return (
        found
        if found.past_group
        else replace(found, past_group=_least_squares(situation).past_group)
    )


def _least_squares(situation: Situation) -> Estimate:
    return estimate_passes(
        situation.num_items, situation.scored, situation.noise, level=situation.level
    )


def _estimate(situation: Situation, strengths: Strengths | None) -> Estimate:
    measured = any(score not in (0, 0.5, 1) for _, scores in situation.scored for score in scores)
    learnt = situation.noise is not None and situation.noise.groups > 0
    if measured or learnt or situation.num_items == 2:
        return _least_squares(situation)
    both_orders = len(situation.verdicts) / situation.num_items  # as informative as one pass
    strengths = strengths or _strengths(situation)
    return estimate_strengths(strengths, both_orders, level=situation.level)


def _strengths(situation: Situation) -> Strengths:
    """From one averaged probability per pair and round."""
    comparisons = []
    for index, verdict in situation.verdicts.items():
        (i, j), (wins, _) = verdict.order, verdict.scores
        other = situation.verdicts.get(_other(situation, index))
        if other is None:
            comparisons.append((i, j, wins))
        elif i < j:  # both orders: one opinion, without the liking for a slot
            mean = (wins + 1 - other.scores[0]) / 2
            comparisons += [(i, j, mean), (i, j, mean)]
    return fit_pairs(situation.num_items, comparisons)


def _questions(situation: Situation, pairs: list[Pair]) -> Plan:
    """Indices for both orders of the pairs, in rounds after those that were asked already."""
    questions: Plan = {}
    rounds: Counter[Pair] = Counter()
    for i, j in pairs:
        again = rounds[min(i, j), max(i, j)]
        while _index(situation, i, j, again) in situation.verdicts:
            again += 1
        rounds[min(i, j), max(i, j)] = again + 1
        questions[_index(situation, i, j, again)] = [i, j]
        questions[_index(situation, j, i, again)] = [j, i]
    return questions


def _other_orders(situation: Situation) -> Plan:
    """What is missing of pairs that were asked in one order only, before a crash."""
    missing = {}
    for index, verdict in situation.verdicts.items():
        other = _other(situation, index)
        if other not in situation.verdicts:
            missing[other] = verdict.order[::-1]
    return missing


def _index(situation: Situation, i: int, j: int, again: int) -> int:
    return (again * situation.num_items + i) * situation.num_items + j


def _pair(situation: Situation, index: int) -> Pair:
    """The pair that a question is about, in both its orders the same."""
    i, j = divmod(index % situation.num_items**2, situation.num_items)
    return (i, j) if i < j else (j, i)


def _other(situation: Situation, index: int) -> int:
    """The question with the same pair the other way round."""
    again, within = divmod(index, situation.num_items**2)
    i, j = divmod(within, situation.num_items)
    return _index(situation, j, i, again)


PAIRWISE = Method(
    form="choice",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: 2 * (situation.num_items - 1),
    shown=lambda situation: 2,
)
