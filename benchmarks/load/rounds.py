"""A closed loop: `in_flight` workers ask, wait for the answer and ask again -> an `Outcome`.

Workers start spread over `stagger_s`, the judge's delay: started together they would stay together,
and a judge that takes 8 s would see 1,024 calls at once every 8 s. Each worker's first round warms
up; it waits `WARM_UP_S` for those that an unfair server lets starve. Once all are warm a worker
counts its rounds until it has `rounds` of them and `window_s` have gone by, then goes on uncounted
until the last one has: no one's counted rounds run at less than full load.

Throughput is `in_flight` over the mean seconds of a counted round, from one question to the next
(Little's law). Rounds are counted whole, so that three rounds of 8 s are as good as three hundred
of 80 ms. Imports nothing but the standard library: RULER is driven by it in its own environment.
"""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

WARM_UP_S = 60.0

# (worker, number of the question) -> what went wrong, if anything
Ask = Callable[[int, int], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which to ask.

    Attributes:
        pace_s: the least time from one question of a worker to its next.
        pause_s: after a fault: who refuses at once must not be asked thousands of times a second.
    """

    in_flight: int
    stagger_s: float
    window_s: float
    rounds: int = 3
    pace_s: float = 0.0
    pause_s: float = 1.0


@dataclass(slots=True)
class Outcome:
    """Counts and times that a loop has seen.

    Attributes:
        latencies: seconds of each counted question that was answered well.
        worker_s: seconds of all workers' counted rounds, pauses included.
        answered: good answers since all were warm, counted or not: what CPU is divided by.
        wall_s: seconds from then until the last worker had counted.
        faults: how often what went wrong, warm-up included.
    """

    latencies: list[float] = field(default_factory=list)
    worker_s: float = 0.0
    answered: int = 0
    wall_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)

    def summary(self, in_flight: int) -> dict[str, object]:
        """Return the figures as JSON, latencies in milliseconds."""
        rate = in_flight * len(self.latencies) / self.worker_s
        return {
            "groups": len(self.latencies),
            "groups_per_s": rate,
            "p50_ms": 1000 * percentile(self.latencies, 0.50),
            "p99_ms": 1000 * percentile(self.latencies, 0.99),
            "answered": self.answered,
            "wall_s": self.wall_s,
            "faults": dict(self.faults),
        }


class ClosedLoop:
    """Runs once; `outcome` may be read meanwhile."""

    def __init__(self, ask: Ask, schedule: Schedule, on_warm: Callable[[], None]) -> None:
        self.outcome = Outcome()
        self._ask = ask
        self._schedule = schedule
        self._on_warm = on_warm
        self._numbers = itertools.count()
        self._cold = self._counting = schedule.in_flight
        self._warm = False
        self._warm_at = 0.0
        self._counted = asyncio.Event()

    async def run(self) -> Outcome:
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._work(worker)) for worker in range(self._schedule.in_flight)
            ]
            asyncio.get_running_loop().call_later(WARM_UP_S, self._all_warm)
            await self._counted.wait()
            self.outcome.wall_s = time.perf_counter() - self._warm_at
            for each in workers:
                each.cancel()
        return self.outcome

    async def _work(self, worker: int) -> None:
        await asyncio.sleep(self._schedule.stagger_s * worker / self._schedule.in_flight)
        await self._round(worker)
        self._cold -= 1
        if not self._cold:
            self._all_warm()
        while not self._warm:
            await self._round(worker)
        await self._count(worker)
        while True:
            await self._round(worker)

    async def _count(self, worker: int) -> None:
        began = time.perf_counter()
        for done in itertools.count(1):
            seconds = await self._round(worker)
            if seconds is not None:
                self.outcome.latencies.append(seconds)
            spent = time.perf_counter() - began
            if done >= self._schedule.rounds and spent >= self._schedule.window_s:
                break
        self.outcome.worker_s += spent
        self._counting -= 1
        if not self._counting:
            self._counted.set()

    async def _round(self, worker: int) -> float | None:
        """Return seconds to a good answer, or None."""
        began = time.perf_counter()
        fault = await self._ask(worker, next(self._numbers))
        took = time.perf_counter() - began
        if fault is not None:
            self.outcome.faults[fault] += 1
            await asyncio.sleep(self._schedule.pause_s)
            return None
        self.outcome.answered += self._warm
        if took < self._schedule.pace_s:
            await asyncio.sleep(self._schedule.pace_s - took)
        return took

    def _all_warm(self) -> None:
        if not self._warm:
            self._warm = True
            self._warm_at = time.perf_counter()
            self._on_warm()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
