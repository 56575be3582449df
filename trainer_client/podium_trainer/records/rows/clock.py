"""Measure how long each part of some work takes, over all threads that are at it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class Clock:
    """Adds up for each part the seconds in which at least one thread is at it.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._lock = Lock()
        self._at_work: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count this thread as at a part while the block runs."""
        with self._lock:
            if not self._at_work[part]:
                self._since[part] = self._now()
            self._at_work[part] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[part] -= 1
                if not self._at_work[part]:
                    spent = self._now() - self._since[part]
                    self._seconds[part] = self._seconds.get(part, 0.0) + spent

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each part so far, those that go on included."""
        with self._lock:
            now, seconds = self._now(), dict(self._seconds)
            for part in +self._at_work:
                seconds[part] = seconds.get(part, 0.0) + now - self._since[part]
            return seconds
