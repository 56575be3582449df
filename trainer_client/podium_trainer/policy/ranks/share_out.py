"""Share micro-batches out among ranks."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def share_out(items: Sequence[T], rank: int, size: int) -> list[T | None]:
    """Return the items of one rank, as many as every other rank has; None stands for none.

    Ranks wait for each other in every layer of every micro-batch. So a rank with fewer would leave
    the others waiting for ever, and items next to each other, which are of about the same size, go
    to different ranks.

    Args:
        items: the same ones in the same order on every rank.
        rank: the rank, in [0, size).
        size: the number of ranks.
    """
    rounds = -(-len(items) // size)
    places = range(rank, rounds * size, size)
    return [items[place] if place < len(items) else None for place in places]
