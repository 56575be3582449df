"""Measure how long each part of the trainer has something to do, over all threads."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

PARTS = ("rollout", "rank", "update")


class Activity:
    """Adds up the seconds in which at least one thread is at a part.

    Args:
        clock: a clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = Lock()
        self._at_work: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._busy_s = dict.fromkeys(PARTS, 0.0)
        self._begun: float | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count this thread as at a part while the block runs."""
        with self._lock:
            now = self._clock()
            self._begun = now if self._begun is None else self._begun
            if not self._at_work[name]:
                self._since[name] = now
            self._at_work[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[name] -= 1
                if not self._at_work[name]:
                    self._busy_s[name] += self._clock() - self._since[name]

    def read(self) -> dict[str, float]:
        """Return for each part the share of the time since the last call in which it was idle.

        It is empty before the first part begins.
        """
        with self._lock:
            now = self._clock()
            if self._begun is None or now <= self._begun:
                return {}
            for name in +self._at_work:
                self._busy_s[name] += now - self._since[name]
                self._since[name] = now
            elapsed_s = now - self._begun
            idle = {name: max(0.0, 1 - self._busy_s[name] / elapsed_s) for name in PARTS}
            self._busy_s = dict.fromkeys(PARTS, 0.0)
            self._begun = now
            return idle
