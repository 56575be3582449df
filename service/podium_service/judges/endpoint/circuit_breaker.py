"""Stop calling an endpoint that fails again and again, and try it with one call after a rest.

closed ──FAILURES failures in a row──► open ──rest is over──► half open: one call tries it
   ▲                                    ▲                         │              │
   │                                    └──it fails: rest twice as long          │
   └─────────────────────────────────────────────────────────it succeeds─────────┘
"""

from math import inf

FAILURES = 5
FIRST_REST_S, LAST_REST_S = 1.0, 30.0


class CircuitBreaker:
    """The breaker of one endpoint; all times are seconds on one clock that the caller reads."""

    def __init__(self) -> None:
        self._failures = 0
        self._rest_ends_at = 0.0
        self._rest_s = 0.0  # is 0 while the breaker is closed
        self._trial_since = inf  # is infinite while no call tries the endpoint

    @property
    def is_open(self) -> bool:
        """Whether it is open or half open."""
        return self._rest_s > 0

    @property
    def is_failing(self) -> bool:
        """Whether the last call with an outcome failed."""
        return self._failures > 0

    def wait_s(self, now: float) -> float:
        """Return for how many seconds no call may start; 0 if one may.

        While a call tries the endpoint this is its age, or the last rest if that is longer: the
        later a call is, the later it is expected to be.
        """
        if self._trial_since < inf:
            return max(self._rest_s, now - self._trial_since)
        return max(0.0, self._rest_ends_at - now)

    def record_start(self, now: float) -> None:
        """Note that a call starts; the first one after a rest tries the endpoint."""
        if self.is_open:
            self._trial_since = now

    def record_success(self) -> None:
        """Close the breaker."""
        self._failures, self._rest_s, self._rest_ends_at, self._trial_since = 0, 0.0, 0.0, inf

    def record_failure(self, started_at: float, now: float) -> bool:
        """Count the failure of a call that started at `started_at`; return whether that opens it.

        Once it is open only the trial counts, because the calls that were active when it opened
        tell nothing new.
        """
        self._failures += 1
        is_trial = started_at >= self._trial_since
        if not is_trial and (self.is_open or self._failures < FAILURES):
            return False
        self._trial_since = inf
        self._rest_s = min(LAST_REST_S, 2 * self._rest_s) if self.is_open else FIRST_REST_S
        self._rest_ends_at = now + self._rest_s
        return True

    def record_end(self, started_at: float) -> None:
        """End the trial, if this call was it and its end tells nothing of the endpoint."""
        if started_at >= self._trial_since:
            self._trial_since = inf
