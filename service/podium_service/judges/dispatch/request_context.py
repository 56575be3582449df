"""State whose request a judge call serves and until when, and collect what it costs."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import perf_counter
from typing import Literal

from podium_service.schemas import Usage
from podium_service.store.quotas.payer import Payer
from podium_service.store.quotas.spend import SpendLimit


class Timing:
    """The time of one request: of the judge, of queues, and of the service itself.

    The calls of a request overlap. Time during which any of them is at the judge is the judge's; of
    the rest, time during which any of them waits is the queues'.
    """

    def __init__(self) -> None:
        self.judge_s = 0.0
        self.queue_s = 0.0
        self._num_active = {"judge": 0, "queue": 0}
        self._since = self._started = perf_counter()

    @property
    def overhead_s(self) -> float:
        """All time so far that was spent neither at the judge nor in a queue."""
        self._tick()
        return self._since - self._started - self.judge_s - self.queue_s

    @contextmanager
    def track(self, where: Literal["judge", "queue"]) -> Iterator[None]:
        """Count the time of the body as spent at the judge or in a queue."""
        self._tick()
        self._num_active[where] += 1
        try:
            yield
        finally:
            self._tick()
            self._num_active[where] -= 1

    def _tick(self) -> None:
        now = perf_counter()
        if self._num_active["judge"]:
            self.judge_s += now - self._since
        elif self._num_active["queue"]:
            self.queue_s += now - self._since
        self._since = now


@dataclass(slots=True)
class RequestContext:
    """One request: who pays for it, its deadline, and what it has cost so far.

    Each call of a round has a copy of its own, which shares `usage`, `timing` and
    `runs` with the others.

    Attributes:
        api_key_id: the id of its API key; "" for the environment's key, or where none is needed.
        api_key_name: the name of that key, for metrics.
        spend_limit: the limit of that key; None where it has none.
        run: the name of the run that its group belongs to; "" where it names none.
        ends_at: the deadline, in seconds on the event loop's clock.
        again_of: the ask whose group a person has judged again by it; None for any other request.
        patient: whether it waits where a judge's queue is full, instead of being refused.
        usage: the calls, tokens and money that were spent.
        runs: the judges' runs over the group: for each content key, the index of the first
            trajectory that each body stands for.
        is_at_judge: whether a call was sent last, and has neither been answered nor failed.
        is_ending: whether no call may be made any more, because another one of the group failed.
    """

    api_key_id: str = ""
    api_key_name: str = ""
    spend_limit: SpendLimit | None = None
    run: str = ""
    ends_at: float = inf
    again_of: int | None = None
    patient: bool = False
    usage: Usage = dataclasses.field(default_factory=Usage)
    timing: Timing = dataclasses.field(default_factory=Timing)
    runs: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    is_at_judge: bool = False
    is_ending: bool = False

    @property
    def payer(self) -> Payer:
        """The payer of its calls, as the store keeps it."""
        return Payer(self.api_key_id, self.run)
