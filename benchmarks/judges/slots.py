"""How much a judge favours each slot of a list: a shape over relative position.

To add a shape: write a function from the list's length to one number a slot, favoured slots higher;
add it to `SHAPES`; name it in a judge's `slot_shape`. Mean and size are taken care of.
"""

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache


def linear(num_slots: int, seed: int) -> list[float]:
    """Let effects fall evenly from the first slot to the last."""
    return [-float(slot) for slot in range(num_slots)]


def primacy(num_slots: int, seed: int) -> list[float]:
    """Put the first quarter, at least one slot, above all others."""
    first = math.ceil(num_slots / 4)
    return [1.0 if slot < first else 0.0 for slot in range(num_slots)]


def arbitrary(num_slots: int, seed: int) -> list[float]:
    """Draw any effect for a slot, the same one in every call of a judge."""
    rng = random.Random(f"slots/{seed}/{num_slots}")
    return [rng.gauss(0, 1) for _ in range(num_slots)]


SHAPES: dict[str, Callable[[int, int], Sequence[float]]] = {
    "linear": linear,
    "primacy": primacy,
    "random": arbitrary,
}


@lru_cache(maxsize=1024)
def slot_effects(shape: str, num_slots: int, slot_sd: float, seed: int) -> tuple[float, ...]:
    """Return one effect per slot: mean zero, standard deviation `slot_sd` over the slots.

    A single slot has none. A negative `slot_sd` favours what the shape disfavours.
    """
    raw = SHAPES[shape](num_slots, seed)
    mean = sum(raw) / num_slots
    spread = math.sqrt(sum((each - mean) ** 2 for each in raw) / num_slots)
    if spread == 0:
        return (0.0,) * num_slots
    return tuple(slot_sd * (each - mean) / spread for each in raw)
