"""Spend one deadline on attempts and on the waits between them."""

import math
import random
from numbers import Real

import anyio

from podium.errors import RankError

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 8.0

# The global generator is not used, because its state is part of a training run.
_jitter = random.Random()


class Retry:
    """One deadline, and the growing waits between attempts that spend from it.

    Attributes:
        started_at, ends_at: the span of the deadline, on the clock of the event loop.
    """

    def __init__(self, deadline_s: float) -> None:
        self.started_at = anyio.current_time()
        self.ends_at = self.started_at + deadline_s
        self.backoff_s = FIRST_BACKOFF_S

    @property
    def left_s(self) -> float:
        """The seconds until the deadline; negative after it."""
        return self.ends_at - anyio.current_time()

    async def wait(self, error: RankError, *, patience_s: float = math.inf) -> bool:
        """Wait until the next attempt; return False at once if it has no use or no time.

        Args:
            error: the failure of the last attempt.
            patience_s: the seconds after the start within which the next attempt must begin.
        """
        wait_s = error.retry_after_s + self.backoff_s * _jitter.uniform(0.5, 1.0)
        left_s = min(self.left_s, self.started_at + patience_s - anyio.current_time())
        if not error.retryable or wait_s >= left_s:
            return False
        self.backoff_s = min(2 * self.backoff_s, LAST_BACKOFF_S)
        await anyio.sleep(wait_s)
        return True


def check_deadline(deadline_s: float) -> float:
    """Return the deadline.

    Raises:
        ValueError: If it is no positive number of seconds.
    """
    is_number = isinstance(deadline_s, Real) and not isinstance(deadline_s, bool)
    if not (is_number and deadline_s > 0 and math.isfinite(deadline_s)):
        raise ValueError(f"deadline_s must be a positive number of seconds, not {deadline_s!r}")
    return deadline_s
