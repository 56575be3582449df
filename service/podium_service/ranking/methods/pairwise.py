"""Rank by calls that each show two trajectories; every pair is asked in both orders.

If the budget holds all pairs, all are asked; else the most informative pairs, a batch at a time.
The index of a question encodes its round and its ordered pair: (round * N + first) * N + second.
"""

from collections import Counter
from dataclasses import replace
from itertools import count

from podium_service.ranking.methods import listwise
from podium_service.ranking.methods.method import Method, Plan, Situation, is_settled
from podium_service.scoring.bradley_terry import Strengths, fit_pairs
from podium_service.scoring.estimate import Estimate, estimate_strengths
from podium_service.scoring.pair_design import Pair, choose_first_pairs, choose_next_pairs

_CALLS_PER_TRAJECTORY = 8  # the most, where no budget sets a limit


def plan(situation: Situation) -> Plan:
    """Ask both orders of every pair that is wanted next."""
    num_items, passes = situation.num_items, situation.passes
    if reversals := _missing_reversals(situation):
        return dict(list(reversals.items())[: int(min(len(reversals), situation.calls_left))])
    call_counts = Counter(_pair(situation, index) for index in situation.verdicts)
    num_calls = call_counts.total()
    max_calls = _CALLS_PER_TRAJECTORY * num_items * passes.max - num_calls
    num_left = int(min(situation.calls_left, max_calls))
    num_pairs = num_items * (num_items - 1) // 2
    if num_left >= 2 * num_pairs * passes.max - num_calls:
        pairs = _next_round(situation, call_counts, num_calls // (2 * num_pairs))
    elif not call_counts:
        pairs = choose_first_pairs(num_items, min(num_items, num_left // 2), situation.seed)
    else:
        pairs = _most_informative(situation, call_counts, num_left // 2)
    return _questions(situation, pairs)


def _next_round(situation: Situation, call_counts: Counter[Pair], num_rounds: int) -> list[Pair]:
    """Return all pairs `passes.min` times at first, then once more as long as it is worth it."""
    passes, num_items = situation.passes, situation.num_items
    num_pairs = num_items * (num_items - 1) // 2
    until = max(passes.min, num_rounds + 1)
    is_last = num_rounds >= passes.max
    if num_rounds >= passes.min and (
        is_last or _is_settled(situation, _estimate(situation), num_pairs)
    ):
        return []
    pairs = choose_first_pairs(num_items, num_pairs, situation.seed)
    return [(i, j) for i, j in pairs for _ in range(until - call_counts[min(i, j), max(i, j)] // 2)]


def _most_informative(
    situation: Situation, call_counts: Counter[Pair], max_pairs: int
) -> list[Pair]:
    """Return the next batch of pairs; none once the group is settled."""
    strengths = _fit(situation)
    batch = min(max_pairs, max(1, situation.num_items // 2, max_pairs // 2))
    if batch < 1 or _is_settled(situation, _estimate(situation, strengths), batch):
        return []
    return choose_next_pairs(strengths, call_counts, batch, seed=situation.seed)


def estimate(situation: Situation) -> Estimate:
    """Fit Bradley-Terry strengths to bare choices, and least squares to probabilities.

    A bare choice is a coin flip, a probability is a measurement. Choices get least squares too once
    past groups have told the judge's noise, or where a single pair has no other to support it.
    """
    result = _estimate(situation)
    if result.past_group:
        return result
    # The least-squares residuals of choices still tell the judge's noise to later groups.
    return replace(result, past_group=listwise.estimate(situation).past_group)


def _estimate(situation: Situation, strengths: Strengths | None = None) -> Estimate:
    """Estimate, from these strengths where Bradley-Terry applies; None: fit them."""
    scores = (score for _, scores in situation.scored_passes for score in scores)
    has_probabilities = any(score not in (0, 0.5, 1) for score in scores)
    is_noise_learned = situation.noise is not None and situation.noise.groups > 0
    if has_probabilities or is_noise_learned or situation.num_items == 2:
        return listwise.estimate(situation)
    return estimate_strengths(strengths or _fit(situation))


def _is_settled(situation: Situation, estimate: Estimate, num_pairs: int) -> bool:
    """Return whether to stop before both orders of so many pairs; all pairs are one pass."""
    calls_per_pass = situation.num_items * (situation.num_items - 1)
    num_passes = len(situation.verdicts) / calls_per_pass
    return is_settled(situation, estimate, num_passes, step=2 * num_pairs / calls_per_pass)


def _fit(situation: Situation) -> Strengths:
    """Fit strengths to one averaged probability per pair and round."""
    comparisons = []
    for index, verdict in situation.verdicts.items():
        (i, j), (wins, _) = verdict.order, verdict.scores
        reversal = situation.verdicts.get(_reversal(situation, index))
        if reversal is None:
            comparisons.append((i, j, wins))
        elif i < j:  # the mean of both orders is one opinion without the preference for a slot
            mean = (wins + 1 - reversal.scores[0]) / 2
            comparisons += [(i, j, mean), (i, j, mean)]
    return fit_pairs(situation.num_items, comparisons)


def _questions(situation: Situation, pairs: list[Pair]) -> Plan:
    """Return both orders of the pairs, in rounds after those that were asked already."""
    questions: Plan = {}
    verdicts = situation.verdicts
    for i, j in pairs:
        indices = (_index(situation, i, j, number) for number in count())
        index = next(each for each in indices if each not in verdicts and each not in questions)
        questions[index], questions[_reversal(situation, index)] = [i, j], [j, i]
    return questions


def _missing_reversals(situation: Situation) -> Plan:
    """Return the other orders of pairs that a run which crashed asked in one order only."""
    verdicts = situation.verdicts
    reversals = [_reversal(situation, index) for index in verdicts]
    return {index: _order(situation, index) for index in reversals if index not in verdicts}


def _index(situation: Situation, i: int, j: int, number: int) -> int:
    """Return the index of the question that shows i before j in a round."""
    return (number * situation.num_items + i) * situation.num_items + j


def _pair(situation: Situation, index: int) -> Pair:
    """Return the pair that a question is about; the same for both of its orders."""
    i, j = sorted(_order(situation, index))
    return i, j


def _order(situation: Situation, index: int) -> list[int]:
    """Return the planned order of a question; a flipped run shows the other one."""
    return list(divmod(index % situation.num_items**2, situation.num_items))


def _reversal(situation: Situation, index: int) -> int:
    """Return the index of the question that shows the same pair in the other order."""
    i, j = _order(situation, index)
    return _index(situation, j, i, index // situation.num_items**2)


PAIRWISE = Method(
    form="choice",
    plan=plan,
    estimate=estimate,
    min_calls=lambda situation: 2 * (situation.num_items - 1),
    call_size=lambda situation: 2,
    is_audited=False,  # both orders of a pair tell the noise already
)
