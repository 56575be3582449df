"""End this process if another rank is silent, whatever this one waits for.

A collective has a limit of its own, but the wait for the next call of rank 0 has none, because a
rollout may take hours, and a collective on GPUs that has lost a rank cannot be interrupted.

Every rank counts up a number in the store that they have in common. Rank 0 looks at the numbers of
all others, and they look at that of rank 0. The store may hang, too, and its calls have no limit:
one thread asks it, and another one counts how long no answer has come.
"""

import os
import sys
import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Protocol

SILENCE_S = 60.0
LOOKS = 10  # in that time
STATUS = 1


class Store(Protocol):
    """The store that all ranks share."""

    def add(self, key: str, value: int, /) -> int:
        """Add to a number, which is 0 at first, and return the sum."""
        ...


class Watch:
    """Gives signs of life, and looks for those of others, while the block runs.

    Args:
        store: a connection of its own, because another one may be busy for minutes.
        rank: of this process.
        size: the number of ranks.
        silence_s: a rank that gives no sign for so long is lost, in seconds.
        on_lost: called with one line; ends the process.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        silence_s: float = SILENCE_S,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._own = rank
        self._others = range(1, size) if rank == 0 else range(1)
        self._silence_s = silence_s
        self._on_lost = on_lost or end_process
        self._looks_unanswered = 0
        self._stopped = Event()
        self._threads = [
            Thread(target=each, name="watch of ranks", daemon=True)
            for each in (self._ask, self._look)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(self._silence_s)

    def _ask(self) -> None:
        """Give signs of life, and look for those of the others."""
        seen = dict.fromkeys(self._others, (0, time.monotonic()))
        while not self._stopped.wait(self._silence_s / LOOKS):
            try:
                self._store.add(key(self._own), 1)
                counts = {rank: self._store.add(key(rank), 0) for rank in self._others}
            except RuntimeError as error:  # the process that holds the store is gone
                words = str(error).splitlines()[0]
                self._lose(f"the store of the ranks does not answer ({words})")
                return
            self._looks_unanswered = 0
            now = time.monotonic()
            for rank, count in counts.items():
                if count != seen[rank][0]:
                    seen[rank] = (count, now)
                elif now - seen[rank][1] > self._silence_s:
                    self._lose(f"rank {rank} gave no sign of life for {self._silence_s:g} s")
                    return

    def _look(self) -> None:
        """Look whether the store answers; seconds would blame it if this process was paused."""
        while not self._stopped.wait(self._silence_s / LOOKS):
            self._looks_unanswered += 1
            if self._looks_unanswered > LOOKS + 1:  # the first is asked after a wait
                self._lose(f"the store of the ranks has not answered for {self._silence_s:g} s")
                return

    def _lose(self, why: str) -> None:
        if not self._stopped.is_set():
            self._on_lost(f"rank {self._own}: {why}: start all again with --resume")


def key(rank: int) -> str:
    return f"podium/sign-of-life/{rank}"


def end_process(line: str) -> None:
    """Print why, and end the process at once, because its main thread may wait for ever."""
    sys.stderr.write(f"podium-train: {line}\n")
    sys.stderr.flush()
    os._exit(STATUS)
