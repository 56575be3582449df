"""Prometheus series of one service; built, never global, so that two apps do not share counts."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from time import perf_counter
from typing import Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from podium_service.errors import PodiumError, failure_code
from podium_service.schemas import AssumedNoise, Ranking, Usage

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)


# How several workers make one series of a gauge.
_Mode = Literal["livesum", "mostrecent"]

Series = TypeVar("Series", Counter, Gauge, Histogram)


class _By(dict[str | tuple[str, ...], Series]):
    """One metric's series by the values of its labels; `labels` itself costs several times more."""

    def __init__(self, metric: Series) -> None:
        super().__init__()
        self._metric: Series = metric

    def __missing__(self, values: str | tuple[str, ...]) -> Series:
        series: Series = self._metric.labels(*([values] if isinstance(values, str) else values))
        self[values] = series
        return series


class Metrics:
    """All series; methods are named after what happened."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> _By[Counter]:
            return _By(Counter(name, about, labels, registry=registry))

        def histogram(
            name: str, about: str, *labels: str, buckets: Sequence[float] = _SECONDS
        ) -> _By[Histogram]:
            return _By(Histogram(name, about, labels, registry=registry, buckets=buckets))

        def gauge(name: str, about: str, *labels: str, mode: _Mode = "livesum") -> _By[Gauge]:
            return _By(Gauge(name, about, labels, registry=registry, multiprocess_mode=mode))

        self._requests = counter("podium_requests", "HTTP requests", "route", "status")
        self._request_s = histogram("podium_request_seconds", "Time to answer", "route")
        about = "Problems answered to requests, connections and lines of batches, by code"
        self._problems = counter("podium_problems", about, "code")
        about = "Groups by outcome: ranked, cached, or an error's code"
        self._rankings = counter("podium_rankings", about, "judge", "outcome")
        about, tenths = "Share of score variance that is signal", [i / 10 for i in range(11)]
        name = "podium_ranking_reliability"
        self._reliability = histogram(name, about, "judge", buckets=tenths)
        about = "Trajectories flagged: gates failed, ways of addressing the judge"
        self._flags = counter("podium_flags", about, "judge", "flag")
        about = "Jurors by how they fared: counted, rejected, failed"
        self._jurors = counter("podium_jurors", about, "judge", "juror", "status")
        name, about = "podium_judge_noise_sd", "Noise of one score, as learnt from past groups"
        self._noise = gauge(name, about, "judge", mode="mostrecent")
        name = "podium_judge_slot_bias"
        about = "What the last slot of a list gains over the first, as learnt and removed"
        self._slot_bias = gauge(name, about, "judge", mode="mostrecent")
        about = "The same over the last groups alone: it moves first when a judge drifts"
        self._recent_slot_bias = gauge(f"{name}_recent", about, "judge", mode="mostrecent")
        about = "Judge calls in line for a place"
        self._waiting = gauge("podium_judge_waiting", about, "judge")
        about = "Time a judge call waits: place, rates, spending"
        self._queue_s = histogram("podium_judge_queue_seconds", about, "judge")
        about = "Groups and calls refused before anything was sent, by an error's code"
        self._refused = counter("podium_judge_refused", about, "judge", "code")
        about = "What calls in flight may cost at most, where spending is limited"
        self._reserved = gauge("podium_judge_reserved_usd", about, "judge")
        about = "Calls an endpoint may have in flight, as adapted"
        self._limit = gauge("podium_endpoint_limit", about, "judge", "base_url")
        about = "Places taken at an endpoint"
        self._taken = gauge("podium_endpoint_in_flight", about, "judge", "base_url")
        about = "1 while an endpoint is left alone or tried out; of several workers the sum"
        self._breaker = gauge("podium_endpoint_breaker_open", about, "judge", "base_url")
        about = "Judge calls by outcome: ok, cancelled, or an error's code"
        self._calls = counter("podium_judge_calls", about, "judge", "outcome")
        about = "Calls made again after an endpoint failed, by that error's code"
        self._retries = counter("podium_judge_retries", about, "judge", "code")
        about = "Second calls made because the first one was late"
        self._hedges = counter("podium_judge_hedges", about, "judge")
        self._faults = counter("podium_judge_faults", "Replies that were no verdict", "judge")
        self._call_s = histogram("podium_judge_call_seconds", "Time of a judge call", "judge")
        self._in_flight = gauge("podium_judge_in_flight", "Judge calls in flight", "judge")
        self._tokens = counter("podium_judge_tokens", "Tokens by kind", "judge", "kind")
        self._cost = counter("podium_judge_cost_usd", "US dollars spent", "judge")

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._requests[route, str(status)].inc()
        self._request_s[route].observe(seconds)

    def count_problem(self, code: str) -> None:
        self._problems[code].inc()

    def count_ranking(self, ranking: Ranking) -> None:
        judge = ranking.judge
        self._rankings[judge, "cached" if ranking.cached else "ranked"].inc()
        if ranking.cached:
            return
        for result in ranking.results:
            for flag in result.flags:
                self._flags[judge, flag].inc()
        if ranking.reliability is not None:
            self._reliability[judge].observe(ranking.reliability)
        self._learnt(judge, ranking.noise)
        for juror in ranking.jurors:
            self._jurors[judge, juror.judge, juror.status].inc()
            self._learnt(juror.judge, juror.noise)

    def _learnt(self, judge: str, noise: AssumedNoise | None) -> None:
        if noise and noise.slots:
            self._noise[judge].set(sqrt(noise.variance))
            self._slot_bias[judge].set(noise.slots[-1] - noise.slots[0])

    def set_recent_slot_bias(self, judge: str, recent_bias: float) -> None:
        self._recent_slot_bias[judge].set(recent_bias)

    def count_failure(self, judge: str, error: PodiumError) -> None:
        self._rankings[judge, error.code].inc()

    def count_fault(self, judge: str) -> None:
        self._faults[judge].inc()

    def count_usage(self, judge: str, usage: Usage) -> None:
        self._tokens[judge, "prompt"].inc(usage.prompt_tokens)
        self._tokens[judge, "cached"].inc(usage.cached_tokens)
        self._tokens[judge, "completion"].inc(usage.completion_tokens)
        self._cost[judge].inc(usage.cost_usd or 0.0)

    def set_waiting(self, judge: str, number: int) -> None:
        self._waiting[judge].set(number)

    def set_endpoint(
        self, judge: str, base_url: str, *, taken: int, limit: int, open_: bool
    ) -> None:
        self._taken[judge, base_url].set(taken)
        self._limit[judge, base_url].set(limit)
        self._breaker[judge, base_url].set(open_)

    def clear_judge(self, judge: str, base_urls: Sequence[str]) -> None:
        """Nothing waits or goes on there any more. To zero, since series that several workers make
        cannot be removed."""
        self.set_waiting(judge, 0)
        for base_url in base_urls:
            self.set_endpoint(judge, base_url, taken=0, limit=0, open_=False)

    def count_hedge(self, judge: str) -> None:
        self._hedges[judge].inc()

    def count_retry(self, judge: str, error: PodiumError) -> None:
        self._retries[judge, error.code].inc()

    @contextmanager
    def count_refusals(self, judge: str) -> Iterator[None]:
        """Count what is refused before anything is sent: no room, no credit, no patience."""
        try:
            yield
        except PodiumError as error:
            self._refused[judge, error.code].inc()
            raise

    @contextmanager
    def time_queueing(self, judge: str) -> Iterator[None]:
        """Time a call's wait, however it ends."""
        started = perf_counter()
        try:
            with self.count_refusals(judge):
                yield
        finally:
            self._queue_s[judge].observe(perf_counter() - started)

    @contextmanager
    def track_reserved(self, judge: str, usd: float) -> Iterator[None]:
        """Count what a call may cost for as long as it is not settled."""
        self._reserved[judge].inc(usd)
        try:
            yield
        finally:
            self._reserved[judge].dec(usd)

    @contextmanager
    def track_call(self, judge: str) -> Iterator[None]:
        """Count one call: in flight, its time, and how it ended."""
        outcome, started = "ok", perf_counter()
        self._in_flight[judge].inc()
        try:
            yield
        except BaseException as error:
            outcome = failure_code(error)
            raise
        finally:
            self._in_flight[judge].dec()
            self._calls[judge, outcome].inc()
            self._call_s[judge].observe(perf_counter() - started)

    def render(self) -> bytes:
        """Of all workers where there are several: `workers` names the folder that they share."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
