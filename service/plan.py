"""Which trajectories are shown in which order: a seeded, balanced design.

Passes come in pairs, an order and its reverse, so that over a pair every trajectory's mean
position is the same and a judge's linear liking for early or late slots cancels. Each further pair
is rotated, so that neighbours and absolute slots vary too. With the same seed the design is the
same: a retry asks for just the passes that are missing.
"""

from random import Random


def balanced_orders(num_items: int, passes: int, seed: int) -> list[list[int]]:
    """Orders of `num_items` trajectories for `passes` listwise calls.

    Args:
        num_items: distinct trajectories, >= 2.
        passes: number of calls, >= 1; an odd last one has no reverse.
        seed: any integer; derived from the content, so that it does not change on a retry.

    Returns:
        `passes` permutations of range(num_items); `orders[p][s]` is shown in slot s of pass p.
    """
    random = Random(seed)
    num_pairs = (passes + 1) // 2
    orders: list[list[int]] = []
    for first in range(0, num_pairs, num_items):  # a fresh base once all rotations are used up
        base = list(range(num_items))
        random.shuffle(base)
        rotations = min(num_items, num_pairs - first)
        for pair in range(rotations):
            shift = pair * num_items // rotations
            order = base[shift:] + base[:shift]
            orders += [order, order[::-1]]
    return orders[:passes]
