"""Queue the calls of one judge for places at its endpoints, fairly between API keys.

A call goes to the endpoint that is home to its prompt's prefix, whose prefix cache then holds it,
unless that endpoint is a good deal busier than the least busy one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from math import inf

from podium_service.errors import JudgeQuotaExhausted, JudgeRateLimited, JudgeUnavailable
from podium_service.judges.dispatch.fair_queue import CallQueue, FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.errors import ENDPOINT_FAILURES
from podium_service.telemetry.tracebacks import drop_locals_on_error

MAX_BREAKER_WAIT_S = 2.0
_HOME_SLACK, _HOME_SHARE = 4, 1.25
_SMOOTHING = 0.1
_LEAST_WAIT_S = 0.02


@dataclass(slots=True, eq=False)
class _Waiter:
    endpoint: asyncio.Future[Endpoint]
    prefix_digest: bytes
    ends_at: float
    avoid: str | None


class EndpointQueue(CallQueue):
    """The queue for places at the endpoints of one judge.

    Args:
        max_pause_s: how long a call waits at most while all endpoints are paused.

    Attributes:
        hold_s: how many seconds a call holds its place, smoothed.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], max_pause_s: float, on_change: Callable[[], None]
    ) -> None:
        super().__init__(on_change)
        self.waiters: FairQueue[_Waiter]
        self.hold_s = 0.0
        self._endpoints = endpoints
        self._max_pause_s = max_pause_s
        self._timer: asyncio.TimerHandle | None = None

    @property
    def num_free(self) -> int:
        """The places for calls that come now; none while others wait for one."""
        if self.waiters.num_waiting:
            return 0
        return sum(max(0, each.num_free) for each in self._list_ready())

    def expected_wait_s(self, key: str, unqueued: Mapping[str, int]) -> float:
        num_places = sum(each.concurrency.expected_limit for each in self._endpoints)
        num_ahead = max(0, self.waiters.count_ahead(key, unqueued) - self.num_free)
        return num_ahead * self.hold_s / num_places

    def describe_load(self) -> str:
        """Return in words what the endpoints have to do, and how long that takes."""
        each = [f"{each.base_url}: {each.describe_load()}" for each in self._endpoints]
        usual = f"about {self.hold_s:.3g} s a call" if self.hold_s else "none has ended yet"
        return "; ".join([*each, f"{self.num_waiting} more wait", usual])

    def record_hold(self, seconds: float) -> None:
        """Learn how long a call that was made has held its place."""
        # Where there are few places, each call is a larger part of what calls have to wait for.
        share = max(_SMOOTHING, 1 / (1 + sum(each.concurrency.limit for each in self._endpoints)))
        self.hold_s += (seconds - self.hold_s) * (share if self.hold_s else 1.0)

    @asynccontextmanager
    async def hold_place(
        self, request_context: RequestContext, prefix: bytes, avoid: str | None = None
    ) -> AsyncIterator[Endpoint]:
        """Wait for a place at an endpoint and hold it for the body.

        Args:
            request_context: whose call it is; a wait beyond its deadline is not begun.
            prefix: how the prompt begins, in common with other prompts.
            avoid: a base URL to avoid as long as there is another.

        Raises:
            JudgeRateLimited: If the endpoints are paused for longer than the call may wait.
            JudgeQuotaExhausted: If no endpoint has credit left.
            JudgeUnavailable: If all endpoints keep failing and are not called for a while.
        """
        endpoint = await self._enter(request_context, prefix, avoid)
        taken_at = asyncio.get_running_loop().time()
        try:
            yield endpoint
        finally:
            endpoint.release_place(taken_at)
            self._assign_places()

    @drop_locals_on_error
    async def _enter(
        self, request_context: RequestContext, prefix: bytes, avoid: str | None
    ) -> Endpoint:
        if not self._list_ready():
            self._require_short_wait(request_context.ends_at)
        endpoint: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        digest = blake2b(prefix, digest_size=16).digest() if prefix else b""
        waiter = _Waiter(endpoint, digest, request_context.ends_at, avoid)
        self.waiters.add(request_context.api_key_id, waiter)
        self._assign_places()
        try:
            return await endpoint
        except asyncio.CancelledError:
            was_waiting = self.waiters.remove(request_context.api_key_id, waiter)
            if not was_waiting and not endpoint.cancelled() and not endpoint.exception():
                endpoint.result().release_place(asyncio.get_running_loop().time())
            self._assign_places()
            raise

    def _assign_places(self) -> None:
        """Give free places to waiters, in turn."""
        while waiter := self.waiters.first():
            if waiter.endpoint.done():  # because it was cancelled and has not run since
                self.waiters.pop()
                continue
            try:
                endpoint = self._choose(waiter)
            except ENDPOINT_FAILURES as error:
                waiter.endpoint.set_exception(error)
            else:
                if endpoint is None:
                    self._schedule_assignment()
                    break
                endpoint.take_place()
                waiter.endpoint.set_result(endpoint)
            self.waiters.pop()
        self._on_change()

    def _choose(self, waiter: _Waiter) -> Endpoint | None:
        """Return where a call may start now; None if it must wait."""
        ready = self._list_ready()
        if not ready:
            self._require_short_wait(waiter.ends_at)
            return None
        free = [each for each in ready if each.num_free > 0]
        if not free:
            return None
        others = [each for each in free if each.base_url != waiter.avoid]
        if not others and len(ready) > 1 and free[0].breaker.is_failing:
            return None  # because it would fail there again, and use up its attempts
        free = others or free
        if len(free) == 1:
            return free[0]
        least_active = min(each.num_active for each in free)
        home = max(free, key=lambda each: each.affinity(waiter.prefix_digest))
        if home.num_active <= max(least_active + _HOME_SLACK, _HOME_SHARE * least_active):
            return home
        return min(free, key=lambda each: each.num_active)

    def _list_ready(self) -> list[Endpoint]:
        """Return the endpoints that are neither paused nor behind an open breaker."""
        return [each for each in self._endpoints if each.wait_s() <= 0]

    def _require_short_wait(self, ends_at: float) -> None:
        """Raise if no endpoint will be ready by `ends_at`, or as soon as a call may wait."""
        max_wait_s = min(self._max_pause_s, ends_at - asyncio.get_running_loop().time())
        with_credit = [
            each for each in self._endpoints if not each.out_of_credit or each.is_trying_credit
        ]
        if not with_credit:
            raise JudgeQuotaExhausted(self._endpoints[0].out_of_credit or "")
        endpoint = min(with_credit, key=lambda each: each.wait_s())
        wait_s = endpoint.wait_s()
        if endpoint.breaker.is_open and wait_s > min(MAX_BREAKER_WAIT_S, max_wait_s):
            raise JudgeUnavailable(
                f"{endpoint.base_url} keeps failing and is left alone for {wait_s:.1f} s; the last "
                f"failure: {endpoint.last_failure}",
                retry_after_s=wait_s,
            )
        if wait_s > max_wait_s:
            raise JudgeRateLimited(
                f"{endpoint.base_url} asks to wait {wait_s:.0f} s", retry_after_s=wait_s
            )

    def _schedule_assignment(self) -> None:
        """Assign places again when the next endpoint will be ready with a free place.

        It may be ready by now, or be avoided. An endpoint whose places are all open and taken needs
        no timer, because the call that leaves it assigns its place.
        """
        if self._timer:
            self._timer.cancel()
        wait_s = min(each.free_place_s() for each in self._endpoints)
        if wait_s < inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(_LEAST_WAIT_S, wait_s), self._assign_places)
