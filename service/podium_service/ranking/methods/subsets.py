"""A few trajectories a call, each with many others in turn, all calls solved together.

For groups beyond what a judge keeps in view: lists get noisier as they grow, and contexts end.
"""

from functools import lru_cache

from podium_service.ranking.methods import listwise
from podium_service.ranking.methods.designs import count_linking_blocks, incomplete_blocks
from podium_service.ranking.methods.method import (
    Method,
    Plan,
    Situation,
    is_settled,
    keep_affordable,
)


def plan(situation: Situation) -> Plan:
    """Hands for `passes.min` showings of each trajectory, and at least enough to link them all;
    then a deck's worth more as long as it is worth it. A small group is one hand: listwise."""
    if situation.num_items <= size(situation):
        return listwise.plan(situation)
    passes, asked = situation.passes, len(situation.verdicts)
    hands, linking = _design(
        situation.num_items, size(situation), _hands(situation, passes.max), situation.seed
    )
    first = max(linking, _hands(situation, passes.min))
    wanted = min(first, len(hands))
    if wanted <= asked < len(hands) and not is_settled(listwise.estimate_scores(situation), passes):
        wanted = min(len(hands), asked + _hands(situation, 1))
    missing = [index for index in range(wanted) if index not in situation.verdicts]
    return keep_affordable({index: hands[index] for index in missing}, situation.calls_left)


def size(situation: Situation) -> int:
    """Trajectories a call."""
    return min(situation.block_size, situation.num_items)


def min_calls(situation: Situation) -> int:
    """Those that link all trajectories."""
    if situation.num_items <= size(situation):
        return 1
    most = _hands(situation, situation.passes.max)
    return _design(situation.num_items, size(situation), most, situation.seed)[1]


def _hands(situation: Situation, passes: int) -> int:
    """Hands that show every trajectory `passes` times."""
    return -(-situation.num_items * passes // size(situation))


@lru_cache(maxsize=256)
def _design(num_items: int, hand: int, count: int, seed: int) -> tuple[list[list[int]], int]:
    """The hands, at least as many as link all, and how many do."""
    while True:
        hands = incomplete_blocks(num_items, hand, count, seed)
        try:
            return hands, count_linking_blocks(num_items, hands)
        except ValueError:
            count += 1


SUBSETS = Method(
    form="scores",
    plan=plan,
    estimate=listwise.estimate_scores,
    min_calls=min_calls,
    shown=size,
)
