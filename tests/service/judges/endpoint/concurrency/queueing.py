"""Simulate servers that work on calls in different ways, in a time of their own and without a wire.

A call needs some seconds of a server that works on it alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from podium_service.judges.endpoint.concurrency.adaptive_limit import AdaptiveLimit

# How many of so many calls a server works on, and how many seconds of each it does in a second.
Server = Callable[[int], tuple[int, float]]


def slots(number: int) -> Server:
    """Return a server that works on so many calls at once, in the order in which they came."""
    return lambda calls: (min(calls, number), 1.0)


def shared(speed: Callable[[int], float]) -> Server:
    """Return a server that works on all calls at once, with a speed that they share."""
    return lambda calls: (calls, speed(calls) / calls)


def noisy(sd: float, seed: int) -> Callable[[], float]:
    """Return the seconds of calls that are one on average, and differ in length."""
    random = Random(seed)
    return lambda: random.lognormvariate(-(sd**2) / 2, sd)


@dataclass
class Trace:
    """States of a simulation, at each of its events.

    Attributes:
        events: time, limit, and calls in flight from then on.
        ended_at: when each call was answered.
    """

    events: list[tuple[float, int, int]] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    num_refused: int = 0

    def reached_at(self, limit: int) -> float:
        """Return when the limit was so high first, whether its places were open or not."""
        return next(at for at, each, _ in self.events if each >= limit)

    def had_in_flight_at(self, number: int) -> float:
        """Return when so many calls were in flight first."""
        return next(at for at, _, calls in self.events if calls >= number)

    def most_in_flight(self, since: float = 0.0) -> int:
        return max(calls for at, _, calls in self.events if at >= since)

    def mean_in_flight(self, since: float) -> float:
        pairs = zip(self.events, self.events[1:], strict=False)
        spans = [(later[0] - at, calls) for (at, _, calls), later in pairs if at >= since]
        return sum(span * calls for span, calls in spans) / sum(span for span, _ in spans)

    def rate(self, since: float) -> float:
        """Return the answers per second from then on."""
        return sum(at >= since for at in self.ended_at) / (self.events[-1][0] - since)


def simulate(
    limit: AdaptiveLimit,
    server: Server,
    seconds: float,
    *,
    began_at: float = 0.0,
    call_s: Callable[[], float] = lambda: 1.0,
    groups_of: int = 0,
    takes: int = 10**9,
    counts: bool = True,
) -> Trace:
    """Send calls for so long, as many at once as the limit allows.

    Args:
        began_at: when, on the clock of the limit.
        call_s: returns how many seconds the next call needs.
        groups_of: so many calls at once, and the next ones after the last answer; 0 for no end.
        takes: the server refuses calls beyond so many.
        counts: whether the server counts tokens, by which calls of different length compare.
    """
    trace, now, unsent = Trace(), began_at, groups_of or 10**9
    calls: list[list[float]] = []  # of each: start, seconds left, seconds needed
    while now < began_at + seconds:
        while len(calls) < limit.read_open(now) and unsent:
            limit.record_start(now)
            if len(calls) >= takes:
                trace.num_refused += 1
                limit.record_overload(now, now)
                limit.record_end(now, now, None)
                break
            needed_s = call_s()
            calls.append([now, needed_s, needed_s])
            unsent -= 1
        trace.events.append((now, limit.limit, len(calls)))
        number, speed = server(len(calls))
        step = min(left_s for _, left_s, _ in calls[:number]) / speed
        if unsent:
            step = min(step, max(limit.wait_s(now), 1e-6))
        now += step
        for call in calls[:number]:
            call[1] -= step * speed
        for call in [call for call in calls[:number] if call[1] < 1e-9]:
            calls.remove(call)
            trace.ended_at.append(now)
            limit.record_end(call[0], now, call[2] if counts else 1.0)
        if groups_of and not calls and not unsent:
            unsent = groups_of
    for call in calls:  # their callers leave
        limit.record_end(call[0], now, None)
    return trace
