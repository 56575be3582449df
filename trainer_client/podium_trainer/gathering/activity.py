"""Say how idle each part of the trainer is, over all threads."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from podium_trainer.records.rows.clock import Clock

PARTS = ("rollout", "rank", "update")


class Activity:
    """Measures the share of the time in which no thread is at a part.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._clock = Clock(now)
        self._since: float | None = None
        self._before: dict[str, float] = {}

    def part(self, name: str) -> AbstractContextManager[None]:
        """Count this thread as at a part while the block runs."""
        if self._since is None:
            self._since = self._now()
        return self._clock.time(name)

    def read(self) -> dict[str, float]:
        """Return for each part the share of the time since the last call in which it was idle.

        It is empty before the first part begins.
        """
        now = self._now()
        if self._since is None or now <= self._since:
            return {}
        seconds, elapsed_s = self._clock.seconds, now - self._since
        busy = {name: seconds.get(name, 0.0) - self._before.get(name, 0.0) for name in PARTS}
        self._since, self._before = now, seconds
        return {name: max(0.0, 1 - busy_s / elapsed_s) for name, busy_s in busy.items()}
