"""Who waits, by API key: keys take turns, however many waiters each has."""

from collections import deque
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class Turns(Generic[Waiter]):
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

    def pop(self) -> None:
        """The first one leaves; the next turn is another key's."""
        key, waiters = next(iter(self._by_key.items()))
        waiters.popleft()
        self.number -= 1
        del self._by_key[key]
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

    def ahead_of(self, key: str) -> int:
        """How many are served before one more of this key would be."""
        return min(self.number, (self.number_of(key) + 1) * (len(self._by_key) or 1))
