"""A circuit breaker: an endpoint that fails again and again is left alone for a while.

Closed, calls pass. After `FAILURES` in a row it opens and none pass; once it has rested it is half
open: one passes, and closes it or opens it for twice as long.
"""

FAILURES = 5
FIRST_REST_S, LAST_REST_S = 1.0, 30.0


class CircuitBreaker:
    """Of one endpoint. All times are seconds on one clock, given by the caller."""

    def __init__(self) -> None:
        self._failures = 0
        self._opened_at = self._until = 0.0
        self._rest_s = 0.0  # 0: closed
        self._trying_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Half open included."""
        return self._rest_s > 0

    def wait_s(self, now: float) -> float:
        """How long no call may start; 0 if one may. While another call tries it out, as long as
        the rest was, or as that call has been out: what is late is expected to be later still."""
        if self._trying_since is not None:
            return max(self._rest_s, now - self._trying_since)
        return max(0.0, self._until - now)

    def started(self, now: float) -> None:
        """A call starts."""
        if self.is_open:
            self._trying_since = now

    def went_well(self) -> None:
        self._failures, self._rest_s, self._until = 0, 0.0, 0.0
        self._trying_since = None

    def failed(self, started_at: float, now: float) -> bool:
        """A call that started at some moment failed; whether that opened the breaker."""
        self._failures += 1
        tried = self._trying_since is not None and started_at >= self._trying_since
        if not tried and (self.is_open or self._failures < FAILURES):
            return False  # those in flight when it opened say nothing new
        self._trying_since = None
        self._rest_s = min(LAST_REST_S, 2 * self._rest_s) if self.is_open else FIRST_REST_S
        self._until = now + self._rest_s
        return True

    def gave_up(self, started_at: float) -> None:
        """A call ended without telling anything: its caller left, or the request was at fault."""
        if self._trying_since is not None and started_at >= self._trying_since:
            self._trying_since = None
