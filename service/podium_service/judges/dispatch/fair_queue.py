"""Queue calls or groups fairly: API keys take turns, however many waiters each has."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Generic, TypeVar

Waiter = TypeVar("Waiter")


class FairQueue(Generic[Waiter]):
    """A queue that is fair between API keys and first come, first served within one."""

    def __init__(self) -> None:
        self.num_waiting = 0
        self._by_key: dict[str, deque[Waiter]] = {}  # whose first key is served next

    @property
    def keys(self) -> Iterable[str]:
        """The ids of the API keys that have waiters, in turn."""
        return self._by_key.keys()

    def count(self, key: str) -> int:
        """Return how many waiters a key has."""
        return len(self._by_key.get(key, ()))

    def add(self, key: str, waiter: Waiter) -> None:
        """Put a waiter at the end of its key's waiters."""
        self._by_key.setdefault(key, deque()).append(waiter)
        self.num_waiting += 1

    def first(self) -> Waiter | None:
        """Return the waiter to serve next; None if there is none."""
        return next(iter(self._by_key.values()))[0] if self._by_key else None

    def pop(self, key: str | None = None) -> Waiter:
        """Remove the first waiter, or the first one of a key; the next turn is another key's."""
        key = next(iter(self._by_key)) if key is None else key
        waiters = self._by_key.pop(key)
        self.num_waiting -= 1
        waiter = waiters.popleft()
        if waiters:
            self._by_key[key] = waiters
        return waiter

    def remove(self, key: str, waiter: Waiter) -> bool:
        """Remove a waiter if it is still in the queue; return whether it was."""
        waiters = self._by_key.get(key, deque())
        if waiter not in waiters:
            return False
        waiters.remove(waiter)
        self.num_waiting -= 1
        if not waiters:
            del self._by_key[key]
        return True

    def count_ahead(self, key: str, unqueued: Mapping[str, int]) -> int:
        """Return how many waiters, `unqueued` ones included, come before one more of this key."""
        number = self.num_waiting + sum(unqueued.values())
        own = self.count(key) + unqueued.get(key, 0)
        num_keys = len(self._by_key.keys() | unqueued.keys())
        return min(number, (own + 1) * (num_keys or 1))


class CallQueue:
    """One of the queues that a judge's calls pass; as it stands, a call without waiters is free.

    Args:
        on_change: called whenever the number of places or waiters changes.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.waiters: FairQueue[Any] = FairQueue()
        self._on_change = on_change

    @property
    def num_waiting(self) -> int:
        """The calls in the queue."""
        return self.waiters.num_waiting

    @property
    def num_free(self) -> float:
        """How many calls would not wait if they queued now."""
        return inf

    def expected_wait_s(self, key: str, unqueued: Mapping[str, int]) -> float:
        """Return how many seconds one more call of an API key will wait, as fast as calls go now.

        `unqueued` tells how many calls will queue before that one, by API key.
        """
        return 0.0
