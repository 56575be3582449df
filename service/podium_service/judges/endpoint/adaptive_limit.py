"""How many calls an endpoint may have in flight: additive increase, multiplicative decrease.

The rule of TCP's congestion avoidance (Jacobson 1988): a little more each round while the limit is
in use and all goes well, a good part less when the endpoint says that it is too much.
"""

_CUT = 0.7
_ROUNDS_TO_FULL = 32


class AdaptiveLimit:
    """A limit between `low` and `high`; it starts high, as what the configuration vouches for."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = float(low), float(high)
        self._limit = self._high
        self._cut_at = -1.0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def went_well(self, in_flight: int) -> None:
        """A call was answered while so many were in flight, itself included."""
        if 2 * in_flight >= self._limit:  # else the limit was not what held us back
            step = max(1.0, self._high / _ROUNDS_TO_FULL)
            self._limit = min(self._high, self._limit + step / self._limit)

    def was_too_much(self, started_at: float, now: float) -> None:
        """A call that started at some moment was turned away, or timed out.

        Those in flight at a cut tell nothing of the limit after it: one cut a round.
        """
        if started_at > self._cut_at:
            self._limit = max(self._low, _CUT * self._limit)
            self._cut_at = now
