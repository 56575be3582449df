"""The ways to rank a group with one LLM judge.

To add one: write a module with a `plan` and an `estimate` over a `Situation` and a `Method` that
names them, enter it in `METHODS`, and add its name to `judge_config.MethodName` and its passes to
`judge_config.DEFAULT_PASSES`.
"""

from collections.abc import Sequence

from service.methods.listwise import LISTWISE
from service.methods.method import Method, Plan, Situation
from service.methods.pairwise import PAIRWISE
from service.methods.pointwise import POINTWISE
from service.methods.subsets import SUBSETS

__all__ = ["METHODS", "Method", "Plan", "Situation", "choose"]

METHODS: dict[str, Method] = {
    "listwise": LISTWISE,
    "subsets": SUBSETS,
    "pairwise": PAIRWISE,
    "pointwise": POINTWISE,
}

LISTWISE_ITEMS = 8  # beyond this many, lists get noisier than subsets of them
SUBSET_ITEMS = 5


def choose(bodies: Sequence[int], shared: int, room: int, max_calls: float) -> str:
    """The method that `auto` stands for.

    Args:
        bodies: tokens of each distinct trajectory.
        shared: tokens of the context they share.
        room: tokens of a prompt, the system message aside.
        max_calls: what the budget holds.
    """
    longest = sorted(bodies, reverse=True)
    num_items = len(longest)
    whole_group_fits = shared + sum(longest) <= room or num_items < 2
    if whole_group_fits and (num_items <= LISTWISE_ITEMS or max_calls < num_items):
        return "listwise"
    if shared + sum(longest[:SUBSET_ITEMS]) <= room and max_calls >= num_items // 2:
        return "subsets"
    if shared + sum(longest[:2]) <= room and max_calls >= 2 * (num_items - 1):
        return "pairwise"
    if shared + longest[0] <= room and max_calls >= num_items:
        return "pointwise"
    return "listwise"  # trimmed until it fits
