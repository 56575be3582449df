"""Adapt how many calls an endpoint may have at once: additive increase, multiplicative decrease.

The limit rises by a step a round while it is in use and all goes well, and falls by a good part
when the endpoint says that it has too much to do, as in TCP's congestion avoidance (Jacobson 1988).
"""

_CUT = 0.7
_ROUNDS_TO_FULL = 32


class AdaptiveLimit:
    """A limit between `low` and `high`, where it starts: the judge's settings vouch for so many."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = float(low), float(high)
        self._limit = self._high
        self._cut_at = -1.0

    @property
    def limit(self) -> int:
        """The number of calls that may be active now."""
        return int(self._limit)

    def record_success(self, num_active: int) -> None:
        """Raise the limit a little after a call that succeeded beside so many, itself included.

        Nothing changes while less than half of the limit is in use, because such a call does not
        show that the endpoint could take more.
        """
        if 2 * num_active >= self._limit:
            step = max(1.0, self._high / _ROUNDS_TO_FULL)
            self._limit = min(self._high, self._limit + step / self._limit)

    def record_overload(self, started_at: float, now: float) -> None:
        """Cut the limit after a call that was refused for load or timed out.

        Calls that started before the last cut cut nothing, because they tell nothing of the limit
        since then. Both times are seconds on one clock.
        """
        if started_at > self._cut_at:
            self._limit = max(self._low, _CUT * self._limit)
            self._cut_at = now
