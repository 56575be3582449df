"""Which trajectories are shown together, in which order: seeded, balanced designs.

Listwise passes come in pairs, an order and its reverse, so that over a pair every trajectory's mean
position is the same and a judge's linear liking for early or late slots cancels. Each further pair
is rotated, so that neighbours and absolute slots vary too. Large groups are dealt out in hands, so
that each trajectory meets many others. With the same seed a design is the same: a retry asks for
just the calls that are missing.
"""

from collections.abc import Sequence
from random import Random

import numpy as np
from scipy.sparse.csgraph import connected_components


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


def incomplete_blocks(num_items: int, size: int, count: int, seed: int) -> list[list[int]]:
    """Deal `count` hands of `size` distinct trajectories out of shuffled decks.

    Every trajectory is dealt once before any is dealt again. Each card goes to a hand that it has
    met least, which comes close to a balanced incomplete block design at any number of hands. In a
    hand, those that stood late so far stand early.

    Args:
        num_items: distinct trajectories, > size.
        size: trajectories a hand, >= 2.
        count: hands.
        seed: as for `balanced_orders`.

    Source:
        Incomplete block designs: John and Williams 1995, "Cyclic and computer generated designs".
    """
    random = Random(seed)
    met = np.zeros((num_items, num_items))
    late = np.zeros(num_items)
    slots = np.arange(size) - (size - 1) / 2
    deck: list[int] = []
    hands = []
    for _ in range(count):
        hand: list[int] = []
        held: list[int] = []  # cards of the new deck that this hand has from the old one
        meetings = np.zeros(num_items)
        while len(hand) < size:
            if not deck:
                deck = [item for item in range(num_items) if item not in hand]
                held = list(hand)
                random.shuffle(deck)
            card = deck.pop(int(meetings[deck].argmin()))
            hand.append(card)
            meetings += met[card]
        met[np.ix_(hand, hand)] += 1
        order = sorted(hand, key=lambda item: -late[item])
        late[order] += slots
        deck += held
        hands.append(order)
    return hands


def links_all(num_items: int, orders: Sequence[Sequence[int]]) -> bool:
    """Whether what was shown together links all trajectories; for lists of one, shows all."""
    if any(len(order) == num_items for order in orders):
        return True
    if all(len(order) == 1 for order in orders):
        return len({order[0] for order in orders}) == num_items
    links = np.zeros((num_items, num_items))
    for order in orders:
        links[order[0], list(order)] = 1
    return bool(connected_components(links, directed=False)[0] == 1)


def count_linking_blocks(num_items: int, hands: Sequence[Sequence[int]]) -> int:
    """How many of the hands, from the first, it takes to link all trajectories with each other.

    Raises:
        ValueError: If all of them do not.
    """
    part = list(range(num_items))  # linked trajectories have the same number, the least of theirs
    for count, hand in enumerate(hands, start=1):
        linked = {part[item] for item in hand}
        least = min(linked)
        part = [least if each in linked else each for each in part]
        if not any(part):
            return count
    raise ValueError(f"{len(hands)} hands do not link {num_items} trajectories")
