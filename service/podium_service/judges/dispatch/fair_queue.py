"""Who waits, by API key: keys take turns, however many waiters each has."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class FairQueue(Generic[Waiter]):
    """A queue that is fair between keys and first come, first served within one."""

    def __init__(self) -> None:
        self.number = 0
        self._by_key: dict[str, deque[Waiter]] = {}  # the first key is next

    @property
    def keys(self) -> set[str]:
        return set(self._by_key)

    def number_of(self, key: str) -> int:
        return len(self._by_key.get(key, ()))

    def add(self, key: str, waiter: Waiter) -> None:
        self._by_key.setdefault(key, deque()).append(waiter)
        self.number += 1

    def first(self) -> Waiter | None:
        """Whose turn it is; None if nobody waits."""
        return next(iter(self._by_key.values()))[0] if self._by_key else None

    def firsts(self) -> Iterator[Waiter]:
        """The first one of each key, in turn; not to be changed meanwhile."""
        return (waiters[0] for waiters in self._by_key.values())

    def pop(self, key: str | None = None) -> None:
        """The first one leaves, or the first one of a key; the next turn is another key's."""
        key = next(iter(self._by_key)) if key is None else key
        waiters = self._by_key.pop(key)
        waiters.popleft()
        self.number -= 1
        if waiters:
            self._by_key[key] = waiters

    def remove(self, key: str, waiter: Waiter) -> bool:
        """Out of the queue, if it is still there; whether it was."""
        waiters = self._by_key.get(key, deque())
        if waiter not in waiters:
            return False
        waiters.remove(waiter)
        self.number -= 1
        if not waiters:
            del self._by_key[key]
        return True

    def ahead_of(self, key: str, coming: Mapping[str, int]) -> int:
        """How many are served before one more of this key would be, once those have queued, too,
        who come before it: `coming`, by key."""
        number = self.number + sum(coming.values())
        own = self.number_of(key) + coming.get(key, 0)
        keys = len(self._by_key.keys() | coming.keys())
        return min(number, (own + 1) * (keys or 1))
