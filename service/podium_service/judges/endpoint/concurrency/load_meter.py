"""Measure an endpoint's load, round by round: how many calls it has, and how fast it answers them.

The mean number of calls in flight is the rate of answers times the mean time of a call (Little
1961), whatever the endpoint does in between.
"""

from dataclasses import dataclass
from math import inf

_LEAST_S = 1e-9  # between two events, because a clock may show the same time twice


@dataclass(frozen=True, slots=True)
class Load:
    """The figures of one round of calls.

    Attributes:
        in_flight: the mean number of calls in flight, while there was any.
        rate: the work that was answered in a second, while there was any call.
        num_at_once: on how many calls the endpoint seems to have worked at once: the best rate of
            answers since the round began, times the least time of a call. This holds for a round
            that began with an idle endpoint.
        call_s: the mean seconds of a call.
    """

    in_flight: float
    rate: float
    num_at_once: float
    call_s: float


class LoadMeter:
    """The current round of one endpoint; all times are seconds on one clock that the caller reads.

    Attributes:
        began_at: when the round began.
        num_answered: how many calls were answered in it.
    """

    def __init__(self) -> None:
        self._num_active = 0
        self.start_round(0.0)

    def start_round(self, now: float) -> None:
        """Begin a round, whatever the one before it has shown."""
        self.began_at = self._changed_at = now
        self.num_answered = 0
        self._busy_s = self._calls_s = 0.0  # time with calls in flight, and the sum over the calls
        self._work = self._best_rate = 0.0
        self._least_s = inf  # for a unit of work

    def record_start(self, now: float) -> None:
        """Count a call that is sent now."""
        self._advance(now)
        self._num_active += 1

    def record_end(self, started_at: float, now: float, work: float | None) -> None:
        """Count a call that ends now.

        Args:
            started_at: when it was sent.
            work: what its answer took, in any unit, so that calls of different length can be
                compared; None if it was not answered.
        """
        self._advance(now)
        self._num_active -= 1
        if work is not None:
            self.num_answered += 1
            self._work += work
            self._best_rate = max(self._best_rate, self._work / self._busy_s)
            self._least_s = min(self._least_s, (now - started_at) / work)

    def finish_round(self) -> Load:
        """Return what the round has shown, and begin the next one."""
        load = Load(
            in_flight=self._calls_s / self._busy_s,
            rate=self._work / self._busy_s,
            num_at_once=self._best_rate * self._least_s,
            call_s=self._calls_s / self.num_answered,
        )
        self.start_round(self._changed_at)
        return load

    def _advance(self, now: float) -> None:
        if self._num_active:
            seconds = max(now - self._changed_at, _LEAST_S)
            self._busy_s += seconds
            self._calls_s += seconds * self._num_active
        self._changed_at = now
