"""Rank by calls that each show a block of a few trajectories, all calls solved together.

For groups beyond what a judge keeps in view: scores get noisier as lists grow, and contexts end.
"""

from functools import lru_cache

from podium_service.ranking.methods import listwise
from podium_service.ranking.methods.designs import count_linking_blocks, incomplete_blocks
from podium_service.ranking.methods.method import Method, Plan, Situation, is_settled


def plan(situation: Situation) -> Plan:
    """Ask the blocks that show each trajectory `passes.min` times, or more if that links not all.

    Then ask for one more pass at a time while it is worth it. Rank a group of one block listwise.
    """
    if situation.num_items <= situation.block_size:
        return listwise.plan(situation)
    passes, num_answered = situation.passes, len(situation.verdicts)
    blocks, num_linking = _design_of(situation)
    num_wanted = min(len(blocks), max(num_linking, _num_blocks(situation, passes.min)))
    if num_wanted <= num_answered < len(blocks) and not is_settled(
        situation, listwise.estimate(situation), situation.times_shown
    ):
        num_wanted = min(len(blocks), num_answered + _num_blocks(situation, 1))
    questions = dict(enumerate(blocks[:num_wanted]))
    return situation.keep_missing(questions, situation.calls_left)


def min_calls(situation: Situation) -> int:
    """Return the number of blocks that link all trajectories."""
    return 1 if situation.num_items <= situation.block_size else _design_of(situation)[1]


def _num_blocks(situation: Situation, passes: int) -> int:
    """Return the number of blocks that show every trajectory `passes` times."""
    return -(-situation.num_items * passes // situation.block_size)


def _design_of(situation: Situation) -> tuple[list[list[int]], int]:
    num_blocks = _num_blocks(situation, situation.passes.max)
    return _design(situation.num_items, situation.block_size, num_blocks, situation.seed)


@lru_cache(maxsize=256)
def _design(
    num_items: int, block_size: int, num_blocks: int, seed: int
) -> tuple[list[list[int]], int]:
    """Return at least `num_blocks` blocks, enough to link all trajectories, and how many do."""
    while True:
        blocks = incomplete_blocks(num_items, block_size, num_blocks, seed)
        try:
            return blocks, count_linking_blocks(num_items, blocks)
        except ValueError:
            num_blocks += 1


SUBSETS = Method(
    form="scores",
    plan=plan,
    estimate=listwise.estimate,
    min_calls=min_calls,
    call_size=lambda situation: min(situation.block_size, situation.num_items),
)
