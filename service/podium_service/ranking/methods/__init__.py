"""The ways to rank a group with one LLM judge.

To add one: write a module with a `plan` and an `estimate` over a `Situation` and a `Method` that
names them, enter it in `METHODS`, and add its name to `judge_config.MethodName` and its passes to
`judge_config.DEFAULT_PASSES`.
"""

from collections.abc import Callable, Sequence
from math import inf

from podium_service.ranking.methods.listwise import LISTWISE
from podium_service.ranking.methods.method import Method, Plan, Situation
from podium_service.ranking.methods.pairwise import PAIRWISE
from podium_service.ranking.methods.pointwise import POINTWISE
from podium_service.ranking.methods.subsets import SUBSETS

__all__ = ["METHODS", "Method", "Plan", "Situation", "choose_method"]

METHODS: dict[str, Method] = {
    "listwise": LISTWISE,
    "subsets": SUBSETS,
    "pairwise": PAIRWISE,
    "pointwise": POINTWISE,
}

LISTWISE_ITEMS = 8  # beyond this many, lists get noisier than subsets of them


def choose_method(
    bodies: Sequence[int],
    overhead: Callable[[str, int], int],
    room: int,
    *,
    block_size: int,
    max_calls: float = inf,
    max_tokens: float = inf,
) -> str:
    """The method that `auto` stands for: the first that fits context and budget.

    Args:
        bodies: tokens of each distinct trajectory, >= 1 of them.
        overhead: tokens of all else in a call, by method and trajectories shown: instructions,
            context, the reply.
        room: tokens of a call.
        block_size: trajectories in a call of the method subsets.
        max_calls, max_tokens: the budget.
    """
    longest = sorted(bodies, reverse=True)
    num_items = len(longest)
    links = -(-(num_items - 1) // (block_size - 1))  # subsets that can link all
    least = {
        "listwise": (num_items, 1),
        "subsets": (block_size, 2 * links),
        "pairwise": (2, 2 * (num_items - 1)),
        "pointwise": (1, num_items),
    }

    def possible(method: str) -> bool:
        shown, calls = least[method]
        tokens = overhead(method, shown) + sum(longest[:shown])
        return tokens <= room and calls <= max_calls and calls * tokens <= max_tokens

    preferred = [*least]
    if num_items > LISTWISE_ITEMS:  # then listwise only where nothing else is possible
        preferred = [*preferred[1:], "listwise"]
        if possible("listwise") and not possible("subsets"):
            return "listwise"
    return next(filter(possible, preferred), "listwise")  # trimmed until it fits
