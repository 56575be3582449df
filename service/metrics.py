"""Prometheus series of one service; built, never global, so that two apps do not share counts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.errors import PodiumError
from service.schemas import Ranking, Usage

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """All series; methods are named after what happened."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "podium_requests", "HTTP requests", ["route", "status"], registry=registry
        )
        self._request_s = Histogram(
            "podium_request_seconds", "Time to answer", ["route"], registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._rankings = Counter(
            "podium_rankings", "Groups by outcome: ranked, cached, or an error's code",
            ["judge", "outcome"], registry=registry,
        )  # fmt: skip
        self._reliability = Histogram(
            "podium_ranking_reliability", "Share of score variance that is signal", ["judge"],
            registry=registry, buckets=[i / 10 for i in range(11)],
        )  # fmt: skip
        self._flags = Counter(
            "podium_flags", "Trajectories flagged: gates failed, ways of addressing the judge",
            ["judge", "flag"], registry=registry,
        )  # fmt: skip
        self._jurors = Counter(
            "podium_jurors", "Jurors by how they fared: counted, rejected, failed",
            ["judge", "juror", "status"], registry=registry,
        )  # fmt: skip
        self._noise = Gauge(
            "podium_judge_noise_sd", "Noise of one score, as learnt from past groups", ["judge"],
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._slot_bias = Gauge(
            "podium_judge_slot_bias", "What the last slot of a list gains over the first",
            ["judge"], registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._waiting = Gauge(
            "podium_judge_waiting", "Judge calls in line for a place", ["judge"], registry=registry
        )
        self._queue_s = Histogram(
            "podium_judge_queue_seconds", "Time a judge call waits: place, rates, spending",
            ["judge"], registry=registry, buckets=_SECONDS,
        )  # fmt: skip
        self._limit = Gauge(
            "podium_endpoint_limit", "Calls an endpoint may have in flight, as adapted",
            ["judge", "base_url"], registry=registry,
        )  # fmt: skip
        self._taken = Gauge(
            "podium_endpoint_in_flight", "Places taken at an endpoint", ["judge", "base_url"],
            registry=registry,
        )  # fmt: skip
        self._breaker = Gauge(
            "podium_endpoint_breaker_open", "1 while an endpoint is left alone or tried out",
            ["judge", "base_url"], registry=registry,
        )  # fmt: skip
        self._calls = Counter(
            "podium_judge_calls", "Judge calls by outcome: ok, or an error's code",
            ["judge", "outcome"], registry=registry,
        )  # fmt: skip
        self._faults = Counter(
            "podium_judge_faults", "Replies that were no verdict", ["judge"], registry=registry
        )
        self._call_s = Histogram(
            "podium_judge_call_seconds", "Time of a judge call", ["judge"], registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._in_flight = Gauge(
            "podium_judge_in_flight", "Judge calls in flight", ["judge"], registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._tokens = Counter(
            "podium_judge_tokens", "Tokens by kind", ["judge", "kind"], registry=registry
        )
        self._cost = Counter(
            "podium_judge_cost_usd", "US dollars spent", ["judge"], registry=registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._request_s.labels(route).observe(seconds)

    def ranked(self, ranking: Ranking) -> None:
        self._rankings.labels(ranking.judge, "cached" if ranking.cached else "ranked").inc()
        if ranking.cached:
            return
        for result in ranking.results:
            for flag in result.flags:
                self._flags.labels(ranking.judge, flag).inc()
        if ranking.reliability is not None:
            self._reliability.labels(ranking.judge).observe(ranking.reliability)
        if ranking.noise and ranking.noise.slots:
            self._noise.labels(ranking.judge).set(sqrt(ranking.noise.variance))
            self._slot_bias.labels(ranking.judge).set(
                ranking.noise.slots[-1] - ranking.noise.slots[0]
            )
        for juror in ranking.jurors:
            self._jurors.labels(ranking.judge, juror.judge, juror.status).inc()

    def failed(self, judge: str, error: PodiumError) -> None:
        self._rankings.labels(judge, error.code).inc()

    def fault(self, judge: str) -> None:
        self._faults.labels(judge).inc()

    def spent(self, judge: str, usage: Usage) -> None:
        self._tokens.labels(judge, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(judge, "cached").inc(usage.cached_tokens)
        self._tokens.labels(judge, "completion").inc(usage.completion_tokens)
        self._cost.labels(judge).inc(usage.cost_usd or 0.0)

    def waiting(self, judge: str, number: int) -> None:
        self._waiting.labels(judge).set(number)

    def endpoint(self, judge: str, base_url: str, *, taken: int, limit: int, open_: bool) -> None:
        self._taken.labels(judge, base_url).set(taken)
        self._limit.labels(judge, base_url).set(limit)
        self._breaker.labels(judge, base_url).set(open_)

    @contextmanager
    def queueing(self, judge: str) -> Iterator[None]:
        """Time a call's wait, however it ends."""
        started = perf_counter()
        try:
            yield
        finally:
            self._queue_s.labels(judge).observe(perf_counter() - started)

    @contextmanager
    def judge_call(self, judge: str) -> Iterator[None]:
        """Count one call: in flight, its time, and how it ended."""
        outcome, started = "failed", perf_counter()
        in_flight = self._in_flight.labels(judge)
        in_flight.inc()
        try:
            yield
            outcome = "ok"
        except PodiumError as error:
            outcome = error.code
            raise
        finally:
            in_flight.dec()
            self._calls.labels(judge, outcome).inc()
            self._call_s.labels(judge).observe(perf_counter() - started)

    def exposition(self) -> bytes:
        """Of all workers where there are several: `workers` names the folder that they share."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
