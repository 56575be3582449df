"""Open the places that a larger limit brings one after the other.

Calls that start at the same moment end at the same moment, and so do those that take their places:
without a ramp they would stay in step, and the event loop would be idle and too busy by turns.
"""

from math import inf


class Ramp:
    """A number of places that rises by and by; times are seconds on the caller's clock."""

    def __init__(self, places: float) -> None:
        self._from = self._to = places
        self._began_at = self._ends_at = -inf

    @property
    def ends_at(self) -> float:
        """When the last place opens, or has opened."""
        return self._ends_at

    def read(self, now: float) -> int:
        """Return how many places are open."""
        if now >= self._ends_at:
            return int(self._to)
        share = (now - self._began_at) / (self._ends_at - self._began_at)
        return int(self._from + share * (self._to - self._from))

    def wait_s(self, now: float) -> float:
        """Return in how many seconds the next place opens; infinite if none will."""
        if now >= self._ends_at:
            return inf
        share = (self.read(now) + 1 - self._from) / (self._to - self._from)
        opens_at = self._began_at + share * (self._ends_at - self._began_at)
        return max(0.0, min(opens_at, self._ends_at) - now)

    def move(self, places: float, now: float, over_s: float = 0.0) -> None:
        """Open places up to a larger number, evenly over so many seconds; or close some at once."""
        open_now = float(self.read(now))
        self._from, self._to = open_now, places
        self._began_at, self._ends_at = now, now + (over_s if places > open_now else 0.0)
