"""Who asks for a ranking, and what has been spent on it so far: money, tokens, time."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import perf_counter

from podium_service.schemas import Usage
from podium_service.store.quotas.spend import SpendLimit


class Timing:
    """Where a request's time goes. Of overlapping calls, time with any at the judge is the judge's;
    the rest of the time with any in a queue is the queue's."""

    def __init__(self) -> None:
        self.judge_s = 0.0
        self.queue_s = 0.0
        self._judging = self._queueing = 0
        self._since = self._started = perf_counter()

    @property
    def overhead_s(self) -> float:
        """All time so far that was spent neither at the judge nor in a queue."""
        self._tick()
        return self._since - self._started - self.judge_s - self.queue_s

    @contextmanager
    def judging(self) -> Iterator[None]:
        """A call is at the judge."""
        self._tick()
        self._judging += 1
        try:
            yield
        finally:
            self._tick()
            self._judging -= 1

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """A call waits for its turn."""
        self._tick()
        self._queueing += 1
        try:
            yield
        finally:
            self._tick()
            self._queueing -= 1

    def _tick(self) -> None:
        now = perf_counter()
        if self._judging:
            self.judge_s += now - self._since
        elif self._queueing:
            self.queue_s += now - self._since
        self._since = now


@dataclass(slots=True)
class RequestContext:
    """One request's.

    Attributes:
        key: the id of the API key that asks; "" where no key is needed, or the environment's.
        spend_limit: of that key.
        ends_at: its deadline, on the event loop's clock.
        patient: whether it rather waits for room in a full line than be refused.
        usage: what was spent.
        timing: where the time went.
    """

    key: str = ""
    spend_limit: SpendLimit | None = None
    ends_at: float = inf
    patient: bool = False
    usage: Usage = dataclasses.field(default_factory=Usage)
    timing: Timing = dataclasses.field(default_factory=Timing)
