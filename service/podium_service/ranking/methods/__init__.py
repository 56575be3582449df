"""The ways to rank a group by one LLM judge.

To add a method:
1. Write a module here with a `plan` and an `estimate` over a `Situation`, and a `Method` that names
   them.
2. Enter the method in `METHODS`.
3. Add its name to `MethodName` and its passes to `DEFAULT_PASSES` in `judges/settings/llm.py`.
"""

from collections.abc import Callable, Sequence
from math import inf

from podium_service.ranking.methods.best_of import BEST_OF
from podium_service.ranking.methods.listwise import LISTWISE, MAX_LISTWISE_ITEMS
from podium_service.ranking.methods.method import Method, Plan, Situation
from podium_service.ranking.methods.pairwise import PAIRWISE
from podium_service.ranking.methods.pointwise import POINTWISE
from podium_service.ranking.methods.subsets import SUBSETS
from podium_service.ranking.methods.yes_no import YES_NO

__all__ = ["METHODS", "Method", "Plan", "Situation", "choose_method", "prefer_methods"]

METHODS: dict[str, Method] = {
    "listwise": LISTWISE,
    "subsets": SUBSETS,
    "pairwise": PAIRWISE,
    "pointwise": POINTWISE,
    "best_of": BEST_OF,
    "yes_no": YES_NO,
}


def prefer_methods(num_items: int, *, by_words: str = "") -> list[str]:
    """Return the methods that `auto` may stand for, the best one first.

    Args:
        num_items: distinct trajectories.
        by_words: the method by the probabilities of letters or words to prefer; empty for none.
    """
    by_scores = ["listwise", "subsets", "pairwise", "pointwise"]
    if num_items > MAX_LISTWISE_ITEMS:
        by_scores = [*by_scores[1:], "listwise"]
    return [by_words, *by_scores] if by_words else by_scores


def choose_method(
    bodies: Sequence[int],
    overhead: Callable[[str, int], int],
    max_call_tokens: int,
    *,
    block_size: int,
    max_calls: float = inf,
    max_tokens: float = inf,
    by_words: str = "",
    otherwise: str = "listwise",
) -> str:
    """Return the method that `auto` stands for: the first that fits the context and the budget.

    Args:
        bodies: tokens of each distinct trajectory, >= 1 of them.
        overhead: returns, for a method and a number of trajectories shown, the tokens of a call
            beside theirs: instructions, context, reply.
        max_call_tokens: tokens that one call may take.
        block_size: trajectories in a call of the method `subsets`.
        max_calls, max_tokens: calls and tokens that the budget holds.
        by_words: `best_of` or `yes_no`, to try it first; empty for neither.
        otherwise: what to return where nothing fits; a list's trajectories are trimmed until it
            does.
    """
    longest = sorted(bodies, reverse=True)
    num_items = len(longest)
    num_linking_blocks = -(-(num_items - 1) // (block_size - 1))
    in_blocks = (block_size, 2 * num_linking_blocks)
    smallest_plans = {  # trajectories in a call, and calls
        "best_of": (num_items, 1) if num_items <= MAX_LISTWISE_ITEMS else in_blocks,
        "listwise": (num_items, 1),
        "subsets": in_blocks,
        "pairwise": (2, 2 * (num_items - 1)),
        "pointwise": (1, num_items),
        "yes_no": (1, num_items),
    }

    def fits(method: str) -> bool:
        call_size, num_calls = smallest_plans[method]
        tokens = overhead(method, call_size) + sum(longest[:call_size])
        fits_budget = num_calls <= max_calls and num_calls * tokens <= max_tokens
        return fits_budget and tokens <= max_call_tokens

    if by_words and fits(by_words):
        return by_words
    if num_items > MAX_LISTWISE_ITEMS and fits("listwise") and not fits("subsets"):
        return "listwise"
    preferred = prefer_methods(num_items)
    return next(filter(fits, preferred), otherwise)
