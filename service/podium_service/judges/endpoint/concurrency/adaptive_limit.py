"""Adapt how many calls an endpoint may have at once to what it can take, as TCP adapts its window.

    a few calls ──► SLOW START: four times as many, round after round ◄───────────┐
                       │ they bring no more answers, or are refused               │
                       ▼                                                          │
    ┌──────────────► a little less than it took                                   │
    │                  ▼                                                          │
    │                as many as it took, for some rounds                          │
    │                  ▼                                                          │
    └─no more answers─ a little more, round after round ──more answers after all──┘

A larger limit opens its places one by one, and then a round begins: as many answers as the limit
allows calls. A server that works on one call at a time refuses none; calls just take longer the
more of them there are. So the sign of too many calls is that they bring no more answers a second.
What waits in our queue instead is served in turn, and can still be refused, or be sent elsewhere.

Source:
    Jacobson 1988, "Congestion Avoidance and Control". That the rate of answers tells more than
    losses do: Brakmo and Peterson 1995, "TCP Vegas"; Cardwell et al. 2016, "BBR".
"""

from math import inf

from podium_service.judges.endpoint.concurrency.load_meter import Load, LoadMeter
from podium_service.judges.endpoint.concurrency.ramp import Ramp

_START = 4  # calls at first: the passes of one group
_FAST, _CAREFUL = 4.0, 2.0  # growth of slow start; of its first step after a fall
_LEAST_ANSWERS = 2  # of a round, however small the limit
# From two numbers of calls that are closer to each other no difference could be told from noise.
_COMPARABLE = 1.6
# Twice as many calls must bring 1.23 times the answers (2 ** 0.3), four times as many 1.5 times. Of
# few calls more is asked, because their rate is noisy.
_LEAST_GAIN, _LEAST_GAIN_OF_FEW, _FEW = 0.3, 0.5, 12
# In its first round an endpoint that answers no faster than one that works on so many calls at once
# is taken for one that works on a single one; not exactly 1, because calls differ in length. One
# that surely works on this share of its calls at once gets four times as many; else twice.
_SERIAL, _PARALLEL = 1.2, 0.7
_DIP = 0.7  # of what the endpoint took, in case it takes less by now
_LONGEST_REST = 8  # rounds
_CUT = 0.7  # what a refusal leaves of the limit
_STEPS_TO_HIGH, _LARGEST_STEP = 32, 0.25  # of `high`; of the limit
# Places open so far apart, or over the time of a call if that is less. A group takes 5 to 10 ms of
# CPU, so a process that gets through its calls at this pace has time for more.
_SPACING_S = 0.02


class AdaptiveLimit:
    """A limit from `low` to `high`; all times are seconds on one clock that the caller reads."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = float(low), float(high)
        self._limit = min(self._high, max(self._low, _START))
        self._ramp = Ramp(self._limit)
        self._meter = LoadMeter()
        self._yardstick: Load | None = None  # the load that others are compared with
        self._taken = inf  # how many calls the endpoint was seen to take; infinite in slow start
        self._factor = _FAST
        self._rest = self._last_rest = 0  # rounds until the limit may rise beyond `_taken`
        self._is_settling = False  # whether calls from before the last fall still count
        self._cut_at = -inf

    @property
    def limit(self) -> int:
        """The number of calls that may be active once all places are open."""
        return int(self._limit)

    def read_open(self, now: float) -> int:
        """Return how many calls may be active now."""
        return self._ramp.read(now)

    def wait_s(self, now: float) -> float:
        """Return in how many seconds one more may be, if none ends; infinite if none may."""
        return self._ramp.wait_s(now)

    @property
    def expected_limit(self) -> int:
        """The limit to reckon with: in slow start the highest, as nothing speaks against it yet."""
        return int(self._high) if self._taken == inf else self.limit

    def record_start(self, now: float) -> None:
        """Note that a call is sent."""
        self._begin_round(now)
        self._meter.record_start(now)

    def record_end(self, started_at: float, now: float, work: float | None) -> None:
        """Note that a call ended; `work` is what its answer took, in any unit, None without one."""
        self._begin_round(now)
        self._meter.record_end(started_at, now, work)
        # Answers come in batches, which make the rate of a short round inexact. The large steps of
        # slow start can do with that.
        needed = self.limit if self._taken == inf else 2 * self.limit
        is_of_round = started_at >= max(self._meter.began_at, self._ramp.ends_at)
        if is_of_round and self._meter.num_answered >= max(_LEAST_ANSWERS, needed):
            load, limit = self._meter.finish_round(), self._limit
            self._learn(load)
            over_s = min(load.call_s, _SPACING_S * (self._limit - limit))
            self._ramp.move(self._limit, now, over_s)

    def record_overload(self, started_at: float, now: float) -> None:
        """Cut the limit after a call that was refused for load or timed out.

        Calls that started before the last cut cut nothing, because they tell nothing of the limit
        since then.
        """
        if started_at > self._cut_at:
            self._limit = self._taken = max(self._low, _CUT * self.read_open(now))
            self._ramp.move(self._limit, now)
            self._cut_at, self._yardstick = now, None
            self._factor, self._rest, self._is_settling = _CAREFUL, 0, True
            self._meter.start_round(now)

    def _begin_round(self, now: float) -> None:
        """Begin a round once all places are open, because one with fewer calls tells too little."""
        if self._meter.began_at < self._ramp.ends_at <= now:
            self._meter.start_round(self._ramp.ends_at)

    def _learn(self, load: Load) -> None:
        """Change the limit by what a round has shown."""
        yardstick = self._yardstick
        if self._is_settling:
            self._is_settling = load.in_flight > 1.25 * self._limit
        elif load.in_flight < self._limit / 2:
            # A limit that is not used up proves nothing, but its calls may serve as a yardstick.
            self._yardstick = yardstick or load
        elif yardstick is None and self._taken == inf and load.num_at_once < _SERIAL:
            self._fall(1.0)
        elif yardstick is None or load.in_flight < yardstick.in_flight:
            self._yardstick = load
            if load.num_at_once < _PARALLEL * load.in_flight:
                self._factor = _CAREFUL
            self._rise()
        elif load.in_flight < _COMPARABLE * yardstick.in_flight:
            self._rise()
        else:
            self._compare(load, yardstick)

    def _compare(self, load: Load, yardstick: Load) -> None:
        """Fall if the calls beyond the yardstick's bring no more answers; else rise."""
        growth, gain = load.in_flight / yardstick.in_flight, load.rate / yardstick.rate
        least_gain = _LEAST_GAIN_OF_FEW if load.in_flight < _FEW else _LEAST_GAIN
        if gain < growth**least_gain:
            self._fall(yardstick.in_flight * max(1.0, gain))
            return
        self._yardstick = load
        if load.in_flight > 1.5 * self._taken:  # so far beyond, it takes more than it seemed to
            self._taken, self._last_rest = inf, 0
        self._rise()

    def _fall(self, taken: float) -> None:
        self._taken = max(self._low, round(taken))
        self._limit = max(self._low, round(_DIP * self._taken))
        self._yardstick, self._factor, self._is_settling = None, _CAREFUL, True
        # The more often more calls have brought nothing, the longer until they are tried again.
        self._rest = self._last_rest = min(_LONGEST_REST, 2 * self._last_rest or 1)

    def _rise(self) -> None:
        """Allow more calls, after a round that used the limit up."""
        if self._taken == inf:
            self._limit, self._factor = self._factor * self._limit, _FAST
        elif self._limit < self._taken:
            self._limit = self._taken
        elif self._rest:
            self._rest -= 1
        else:
            step = min(_LARGEST_STEP * self._limit, self._high / _STEPS_TO_HIGH)
            self._limit += max(1.0, step)
        self._limit = min(self._high, self._limit)
