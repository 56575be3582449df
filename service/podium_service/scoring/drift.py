"""A judge's liking for late slots over its last groups alone: it moves before what is learnt does.

What is learnt weighs a thousand groups alike. This is one number, the slope along a list, in which
a group counts half as much as one `HALF_LIFE` groups later.
"""

import numpy as np

from podium_service.scoring.least_squares import KNOTS
from podium_service.scoring.noise import PastGroup

HALF_LIFE = 20
_DECAY = 0.5 ** (1 / HALF_LIFE)
_LINE_K = np.linspace(-0.5, 0.5, KNOTS)


class SlotDrift:
    """Of one judge."""

    def __init__(self) -> None:
        self._seen = self._gained = 0.0

    def add(self, past: PastGroup) -> float | None:
        """Take a group into account.

        Returns:
            What the last slot gains over the first, on the judge's scale; None while no group
            told, as where each of its trajectories was shown once.
        """
        if past.slot_xty:
            self._seen = _DECAY * self._seen + float(_LINE_K @ np.array(past.slot_xtx) @ _LINE_K)
            self._gained = _DECAY * self._gained + float(_LINE_K @ np.array(past.slot_xty))
        return self._gained / self._seen if self._seen > 1e-9 else None
