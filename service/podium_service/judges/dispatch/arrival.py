"""A group's calls on their way: from when they are let in until each of them queues."""

from collections import Counter
from collections.abc import Callable
from types import TracebackType


class Coming:
    """Calls of one judge that are let in and have not queued yet, by API key.

    Args:
        on_change: told when a group is over before all of its calls have queued.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.number = 0
        self.by_key: Counter[str] = Counter()  # no key without calls
        self.on_change = on_change

    def add(self, key: str, calls: int) -> None:
        """So many more, or fewer."""
        self.number += calls
        self.by_key[key] += calls
        if not self.by_key[key]:
            del self.by_key[key]


class Arrival:
    """Of one group. A context: what has not queued at its end gives its room back.

    Attributes:
        calls: how many it asks at once to begin with; then how many of them have yet to queue.
    """

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls
        self._key = ""
        self._coming: Coming | None = None

    def begin(self, coming: Coming, key: str) -> None:
        """It is let in: its calls count from here on."""
        self._coming, self._key = coming, key
        coming.add(key, self.calls)

    def queues(self) -> None:
        """One of its calls queues now, before anything else runs; later calls change nothing."""
        if self._coming is not None and self.calls:
            self.calls -= 1
            self._coming.add(self._key, -1)

    def __enter__(self) -> "Arrival":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._coming is not None and self.calls:
            self._coming.add(self._key, -self.calls)
            self.calls = 0
            self._coming.on_change()
