"""Count and time what the service does, as Prometheus series.

To add a series:

1. add a row to the table of its kind below;
2. write the method that updates it, named after what it does: `count_...`, `set_...`, `time_...`;
3. describe it in the table of `docs/monitoring.md`.

`Metrics` is built, never global, so that two services in one process do not share counts.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from math import sqrt
from typing import Any, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from podium_service.errors import PodiumError, failure_code
from podium_service.schemas import AssumedNoise, Ranking, Usage

# Each table has the name without `podium_`, the description, and the labels.
_COUNTERS = {
    "requests": ("HTTP requests", "route", "status"),
    "problems": ("Problems sent to requests, connections and lines of batches, by code", "code"),
    "rankings": ("Groups by outcome: ranked, cached, or an error's code", "judge", "outcome"),
    "flags": ("Flagged trajectories: failed gates, texts that address the judge", "judge", "flag"),
    "jurors": ("Jurors by outcome: counted, rejected, failed", "judge", "juror", "status"),
    "judge_refused": ("Groups and calls refused before a call, by code", "judge", "code"),
    "judge_calls": ("Judge calls by outcome: ok, cancelled, or a code", "judge", "outcome"),
    "judge_retries": ("Calls repeated after an endpoint failed, by code", "judge", "code"),
    "judge_hedges": ("Second calls sent because the first one was late", "judge"),
    "judge_faults": ("Replies without a verdict", "judge"),
    "judge_tokens": ("Tokens by kind", "judge", "kind"),
    "judge_cost_usd": ("US dollars spent", "judge"),
    "key_requests": ("Groups sent by API keys, by outcome: accepted, refused", "key", "outcome"),
    "key_cost_usd": ("US dollars spent by API keys", "key"),
}
# Of these the value of one worker is shown; the other gauges are sums over live workers.
_MOST_RECENT_GAUGES = {
    "judge_noise_sd": ("Noise of one score, estimated from past groups", "judge"),
    "judge_slot_bias": ("Gain of the last slot over the first, estimated and removed", "judge"),
    "judge_slot_bias_recent": ("Slot bias of recent groups; shows a drift of the judge", "judge"),
}
_GAUGES = {
    "judge_waiting": ("Judge calls in the queue", "judge"),
    "judge_reserved_usd": ("The most that open calls may cost, if spending is limited", "judge"),
    "judge_in_flight": ("Open judge calls", "judge"),
    "endpoint_limit": ("Calls that an endpoint may have open, as adapted", "judge", "base_url"),
    "endpoint_in_flight": ("Calls open at an endpoint", "judge", "base_url"),
    "endpoint_breaker_open": ("1 while calls are withheld; workers add up", "judge", "base_url"),
}
_SECONDS_HISTOGRAMS = {
    "request_seconds": ("Time to answer a request", "route"),
    "judge_queue_seconds": ("Time that a judge call waits: queue, rates, spending", "judge"),
    "judge_call_seconds": ("Time of a judge call", "judge"),
}
_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
_SHARE_HISTOGRAMS = {"ranking_reliability": ("Share of the score variance that is signal", "judge")}
MAX_KEYS = 100  # names of API keys that have series of their own in one process
_NO_KEY, _OTHER_KEYS = "none", "other"
_SHARES = tuple(tenths / 10 for tenths in range(11))

Series = TypeVar("Series", Counter, Gauge, Histogram)


class Metrics:
    """All series of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._key_names: set[str] = set()
        self._counters = self._make(Counter, _COUNTERS)
        self._gauges = {
            **self._make(Gauge, _GAUGES, multiprocess_mode="livesum"),
            **self._make(Gauge, _MOST_RECENT_GAUGES, multiprocess_mode="mostrecent"),
        }
        self._histograms = {
            **self._make(Histogram, _SECONDS_HISTOGRAMS, buckets=_SECONDS),
            **self._make(Histogram, _SHARE_HISTOGRAMS, buckets=_SHARES),
        }

    def _make(
        self, kind: type[Series], table: Mapping[str, Sequence[str]], **options: Any
    ) -> dict[str, Callable[..., Series]]:
        """Return by name what finds the series of some label values, from a cache.

        The cache is there because `labels` itself costs several times more.
        """
        return {
            name: cache(
                kind(f"podium_{name}", about, labels, registry=self.registry, **options).labels
            )
            for name, (about, *labels) in table.items()
        }

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._counters["requests"](route, str(status)).inc()
        self._histograms["request_seconds"](route).observe(seconds)

    def count_problem(self, code: str) -> None:
        self._counters["problems"](code).inc()

    def count_ranking(self, ranking: Ranking) -> None:
        """Count a ranked group, and show what its ranking says about judge and trajectories."""
        judge = ranking.judge
        self._counters["rankings"](judge, "cached" if ranking.cached else "ranked").inc()
        if ranking.cached:
            return
        for result in ranking.results:
            for flag in result.flags:
                self._counters["flags"](judge, flag).inc()
        if ranking.reliability is not None:
            self._histograms["ranking_reliability"](judge).observe(ranking.reliability)
        self._set_noise(judge, ranking.noise)
        for juror in ranking.jurors:
            self._counters["jurors"](judge, juror.judge, juror.status).inc()
            self._set_noise(juror.judge, juror.noise)

    def _set_noise(self, judge: str, noise: AssumedNoise | None) -> None:
        if noise and noise.slots:
            self._gauges["judge_noise_sd"](judge).set(sqrt(noise.variance))
            self._gauges["judge_slot_bias"](judge).set(noise.slots[-1] - noise.slots[0])

    def set_recent_slot_bias(self, judge: str, bias: float) -> None:
        self._gauges["judge_slot_bias_recent"](judge).set(bias)

    def count_failure(self, judge: str, error: PodiumError) -> None:
        """Count a group that could not be ranked."""
        self._counters["rankings"](judge, error.code).inc()

    def count_fault(self, judge: str) -> None:
        self._counters["judge_faults"](judge).inc()

    def count_key_request(self, key: str, outcome: Literal["accepted", "refused"]) -> None:
        """Count a group against the name of its API key, before it is ranked."""
        self._counters["key_requests"](self._key_label(key), outcome).inc()

    def count_usage(self, judge: str, key: str, usage: Usage) -> None:
        """Count what a call to a judge cost, also against the name of an API key."""
        tokens = self._counters["judge_tokens"]
        tokens(judge, "prompt").inc(usage.prompt_tokens)
        tokens(judge, "cached").inc(usage.cached_tokens)
        tokens(judge, "completion").inc(usage.completion_tokens)
        self._counters["judge_cost_usd"](judge).inc(usage.cost_usd or 0.0)
        self._counters["key_cost_usd"](self._key_label(key)).inc(usage.cost_usd or 0.0)

    def _key_label(self, name: str) -> str:
        """Return the label of an API key: the first names have one each, and later ones share."""
        if not name:
            return _NO_KEY
        if len(self._key_names) < MAX_KEYS:
            self._key_names.add(name)
        return name if name in self._key_names else _OTHER_KEYS

    def set_waiting(self, judge: str, number: int) -> None:
        self._gauges["judge_waiting"](judge).set(number)

    def set_endpoint(
        self, judge: str, base_url: str, *, num_active: int, limit: int, open_: bool
    ) -> None:
        """Show an endpoint's open calls, its limit, and whether its circuit breaker is open."""
        self._gauges["endpoint_in_flight"](judge, base_url).set(num_active)
        self._gauges["endpoint_limit"](judge, base_url).set(limit)
        self._gauges["endpoint_breaker_open"](judge, base_url).set(open_)

    def clear_judge(self, judge: str, base_urls: Sequence[str]) -> None:
        """Set the gauges of a removed judge to zero.

        They cannot be deleted where several workers make one series.
        """
        self.set_waiting(judge, 0)
        for base_url in base_urls:
            self.set_endpoint(judge, base_url, num_active=0, limit=0, open_=False)

    def count_hedge(self, judge: str) -> None:
        self._counters["judge_hedges"](judge).inc()

    def count_retry(self, judge: str, error: PodiumError) -> None:
        self._counters["judge_retries"](judge, error.code).inc()

    @contextmanager
    def count_refusals(self, judge: str) -> Iterator[None]:
        """Count an error inside as a refusal: no call was sent."""
        try:
            yield
        except PodiumError as error:
            self._counters["judge_refused"](judge, error.code).inc()
            raise

    @contextmanager
    def time_queueing(self, judge: str) -> Iterator[None]:
        """Time the wait of a call, and count it as a refusal if it ends in an error."""
        try:
            with self._histograms["judge_queue_seconds"](judge).time():
                yield
        except PodiumError as error:
            self._counters["judge_refused"](judge, error.code).inc()
            raise

    @contextmanager
    def track_reserved(self, judge: str, usd: float) -> Iterator[None]:
        """Show the most that a call may cost until it is settled."""
        gauge = self._gauges["judge_reserved_usd"](judge)
        gauge.inc(usd)
        try:
            yield
        finally:
            gauge.dec(usd)

    @contextmanager
    def track_call(self, judge: str) -> Iterator[None]:
        """Show a call while it is open; then count its outcome and its time."""
        outcome = "ok"
        in_flight = self._gauges["judge_in_flight"](judge)
        try:
            with self._histograms["judge_call_seconds"](judge).time(), in_flight.track_inprogress():
                yield
        except BaseException as error:
            outcome = failure_code(error)
            raise
        finally:
            self._counters["judge_calls"](judge, outcome).inc()

    def render(self) -> bytes:
        """Return all series in Prometheus' text format.

        With several workers these are the series of all of them, from the folder that they share.
        """
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # not typed there
        return generate_latest(registry)
