"""Choose which trajectories are shown together, and in which order, by seeded balanced designs.

Listwise passes come in pairs, an order and its reverse, so that over a pair every trajectory has
the same mean position and a judge's linear preference for early or late slots cancels. Each further
pair is rotated, so that neighbours and slots vary too. Large groups are shown in incomplete blocks.
The same seed gives the same design, so that a retry asks only for the calls that are missing.
"""

from collections.abc import Sequence
from random import Random

import numpy as np
from scipy.sparse.csgraph import connected_components


def balanced_orders(num_items: int, passes: int, seed: int) -> list[list[int]]:
    """Return the orders of `num_items` trajectories for `passes` listwise calls.

    Args:
        num_items: distinct trajectories, >= 2.
        passes: number of calls, >= 1; an odd last one has no reverse.
        seed: any integer.

    Returns:
        `passes` permutations of range(num_items); `orders[p][s]` is shown in slot s of pass p.
    """
    random = Random(seed)
    num_pairs = (passes + 1) // 2
    orders: list[list[int]] = []
    for first in range(0, num_pairs, num_items):  # a new base order once all rotations are used
        base = list(range(num_items))
        random.shuffle(base)
        rotations = min(num_items, num_pairs - first)
        for pair in range(rotations):
            shift = pair * num_items // rotations
            order = base[shift:] + base[:shift]
            orders += [order, order[::-1]]
    return orders[:passes]


def incomplete_blocks(
    num_items: int, block_size: int, num_blocks: int, seed: int
) -> list[list[int]]:
    """Return blocks of trajectories that are shown together, each in the order to show it.

    Every trajectory is used once before any is used again. Each block is filled with the
    trajectories that met its other members least often, which comes close to a balanced incomplete
    block design for any number of blocks. Within a block, the trajectories that stood late in
    earlier blocks stand early. Asking for more blocks leaves the first ones as they are.

    Args:
        num_items: distinct trajectories, > block_size.
        block_size: trajectories in a block, >= 2.
        num_blocks: number of blocks.
        seed: as for `balanced_orders`.

    Source:
        Incomplete block designs: John and Williams 1995, "Cyclic and computer generated designs".
    """
    random = Random(seed)
    meetings = np.zeros((num_items, num_items))
    lateness = np.zeros(num_items)
    slots = np.arange(block_size) - (block_size - 1) / 2
    unused: list[int] = []
    blocks = []
    for _ in range(num_blocks):
        block: list[int] = []
        carried: list[int] = []  # members that this block took before `unused` was refilled
        meetings_with_block = np.zeros(num_items)
        while len(block) < block_size:
            if not unused:
                unused = [item for item in range(num_items) if item not in block]
                carried = list(block)
                random.shuffle(unused)
            item = unused.pop(int(meetings_with_block[unused].argmin()))
            block.append(item)
            meetings_with_block += meetings[item]
        meetings[np.ix_(block, block)] += 1
        order = sorted(block, key=lambda item: -lateness[item])
        lateness[order] += slots
        unused += carried  # this round has not used them yet
        blocks.append(order)
    return blocks


def links_all(num_items: int, orders: Sequence[Sequence[int]]) -> bool:
    """Return whether chains of trajectories shown together link all of them.

    Orders of one trajectory each link nothing: for these, whether each trajectory was shown.
    """
    if any(len(order) == num_items for order in orders):
        return True
    if all(len(order) == 1 for order in orders):
        return len({order[0] for order in orders}) == num_items
    links = np.zeros((num_items, num_items))
    for order in orders:
        links[order[0], list(order)] = 1
    return bool(connected_components(links, directed=False)[0] == 1)


def count_linking_blocks(num_items: int, blocks: Sequence[Sequence[int]]) -> int:
    """Return how many blocks, from the first, link all trajectories; raise if all do not."""
    component = list(range(num_items))  # the least trajectory that each one is linked with
    for count, block in enumerate(blocks, start=1):
        linked = {component[item] for item in block}
        least = min(linked)
        component = [least if each in linked else each for each in component]
        if not any(component):
            return count
    raise ValueError(f"{len(blocks)} blocks do not link {num_items} trajectories")
