"""Follow a judge's slot bias over its last groups, to see drift before the learnt noise moves.

`noise` weighs up to a thousand groups alike. `SlotDrift` is one number, the slope along a list, in
which a group counts half as much as one that comes `HALF_LIFE` groups later.
"""

import numpy as np

from podium_service.scoring.least_squares import KNOTS
from podium_service.scoring.noise import PastGroup

HALF_LIFE = 20
_DECAY = 0.5 ** (1 / HALF_LIFE)
_LINE_K = np.linspace(-0.5, 0.5, KNOTS)


class SlotDrift:
    """The recent slot bias of one judge: a slope, by exponentially weighted least squares."""

    def __init__(self) -> None:
        self._xtx = self._xty = 0.0

    def add(self, past: PastGroup) -> float | None:
        """Take a group into account.

        Returns:
            The gain of the last slot over the first, on the judge's scale; None while no group
            shows it, because each trajectory was shown once.
        """
        if past.slot_xty:
            self._xtx = _DECAY * self._xtx + float(_LINE_K @ np.array(past.slot_xtx) @ _LINE_K)
            self._xty = _DECAY * self._xty + float(_LINE_K @ np.array(past.slot_xty))
        return self._xty / self._xtx if self._xtx > 1e-9 else None
