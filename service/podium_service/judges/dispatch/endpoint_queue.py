"""The line of calls for one judge's endpoints, fair between API keys.

Keys take turns, however many calls each has waiting. A call goes to the endpoint that its prompt's
prefix calls home, whose prefix cache then is warm, unless that one is a good deal busier than the
least busy one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b

from podium_service.errors import JudgeQuotaExhausted, JudgeRateLimited, JudgeUnavailable
from podium_service.judges.dispatch.fair_queue import FairQueue
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.tracebacks import drop_locals_on_error

BREAKER_PATIENCE_S = 2.0
_HOME_SLACK, _HOME_SHARE = 4, 1.25
_SMOOTHING = 0.1


@dataclass(slots=True, eq=False)
class _Waiter:
    place: asyncio.Future[Endpoint]
    prefix: bytes  # its digest
    ends_at: float
    avoid: str | None


class EndpointQueue:
    """Hands out places at the endpoints of one judge.

    Args:
        endpoints: where calls can go.
        patience_s: of a call, when all endpoints ask to wait.
        on_change: told whenever places or waiters change in number.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        patience_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self.held_s = 0.0  # how long a call holds its place, smoothed
        self._endpoints = endpoints
        self._patience_s = patience_s
        self._on_change = on_change
        self.turns: FairQueue[_Waiter] = FairQueue()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def num_waiting(self) -> int:
        return self.turns.number

    @property
    def num_free(self) -> int:
        """Places for those who come now; none while others wait for one."""
        if self.turns.number:
            return 0
        rested = [each for each in self._endpoints if each.wait_s() <= 0]
        return sum(max(0, each.concurrency.limit - each.num_active) for each in rested)

    def expected_wait_s(self, key: str, coming: Mapping[str, int]) -> float:
        """How long a call of this key will wait, as calls go now; 0 if none waits, nor will of
        those `coming`, by key."""
        places = sum(max(1, endpoint.concurrency.limit) for endpoint in self._endpoints)
        ahead = max(0, self.turns.ahead_of(key, coming) - self.num_free)
        return ahead * self.held_s / places

    def was_held(self, seconds: float) -> None:
        """A call has held its place for so long. One that was never made tells nothing."""
        self.held_s += (seconds - self.held_s) * (_SMOOTHING if self.held_s else 1.0)

    @asynccontextmanager
    async def place(
        self, request_context: RequestContext, prefix: bytes, avoid: str | None = None
    ) -> AsyncIterator[Endpoint]:
        """Hold a place at an endpoint.

        Args:
            caller: who asks; keys take turns, and a wait beyond its deadline is not begun.
            prefix: what the prompt begins with, and others may begin with, too.
            avoid: not this base URL, as long as there is another.

        Raises:
            JudgeRateLimited: If the endpoints ask for more patience than a call has.
            JudgeQuotaExhausted: If no endpoint has credit left.
            JudgeUnavailable: If all endpoints keep failing and are left alone.
        """
        endpoint = await self._enter(request_context, prefix, avoid)
        started = asyncio.get_running_loop().time()
        try:
            yield endpoint
        finally:
            endpoint.release_place(started)
            self._hand_out()

    @drop_locals_on_error
    async def _enter(
        self, request_context: RequestContext, prefix: bytes, avoid: str | None
    ) -> Endpoint:
        if not any(each.wait_s() <= 0 for each in self._endpoints):
            self._require_patience(request_context.ends_at)
        place = asyncio.get_running_loop().create_future()
        digest = blake2b(prefix, digest_size=16).digest() if prefix else b""
        waiter = _Waiter(place, digest, request_context.ends_at, avoid)
        self.turns.add(request_context.api_key_id, waiter)
        self._hand_out()
        try:
            return await waiter.place
        except asyncio.CancelledError:
            self._forget(request_context.api_key_id, waiter)
            raise

    def _hand_out(self) -> None:
        """Give free places to those whose turn it is."""
        while waiter := self.turns.first():
            if waiter.place.done():  # its caller has left, and has not run yet
                self.turns.pop()
                continue
            try:
                endpoint = self._choose(waiter)
            except (JudgeRateLimited, JudgeQuotaExhausted, JudgeUnavailable) as error:
                waiter.place.set_exception(error)
            else:
                if endpoint is None:
                    self._come_back()
                    break
                endpoint.take_place()
                waiter.place.set_result(endpoint)
            self.turns.pop()
        self._on_change()

    def _choose(self, waiter: _Waiter) -> Endpoint | None:
        """Where a call may start now; None if it must wait."""
        rested = [each for each in self._endpoints if each.wait_s() <= 0]
        if not rested:
            self._require_patience(waiter.ends_at)
            return None
        free = [each for each in rested if each.num_active < each.concurrency.limit]
        if not free:
            return None
        free = [each for each in free if each.base_url != waiter.avoid] or free
        least = min(each.num_active for each in free)
        home = max(free, key=lambda each: each.affinity(waiter.prefix))
        if home.num_active <= max(least + _HOME_SLACK, _HOME_SHARE * least):
            return home
        return min(free, key=lambda each: each.num_active)

    def _require_patience(self, ends_at: float) -> None:
        """Raise if no endpoint has rested within the patience of a call, nor by `ends_at`."""
        patience_s = min(self._patience_s, ends_at - asyncio.get_running_loop().time())
        solvent = [each for each in self._endpoints if not each.out_of_credit]
        if not solvent:
            spent = self._endpoints[0].out_of_credit
            raise JudgeQuotaExhausted(spent.detail if spent else "no credit left")
        endpoint = min(solvent, key=lambda each: each.wait_s())
        wait_s = endpoint.wait_s()
        if endpoint.breaker.is_open and wait_s > min(BREAKER_PATIENCE_S, patience_s):
            raise JudgeUnavailable(
                f"{endpoint.base_url} keeps failing and is left alone for {wait_s:.1f} s",
                retry_after_s=wait_s,
            )
        if wait_s > patience_s:
            raise JudgeRateLimited(
                f"{endpoint.base_url} asks to wait {wait_s:.0f} s", retry_after_s=wait_s
            )

    def _come_back(self) -> None:
        """Hand out again when the next endpoint with a free place has rested, which may be by now;
        a place left does it, too."""
        if self._timer:
            self._timer.cancel()
        free = [each for each in self._endpoints if each.num_active < each.concurrency.limit]
        if free:
            wait_s = min(each.wait_s() for each in free)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._hand_out)

    def _forget(self, key: str, waiter: _Waiter) -> None:
        """Its caller left: out of the line with it, or its place to the next."""
        removed = self.turns.remove(key, waiter)
        if not removed and not waiter.place.cancelled() and not waiter.place.exception():
            waiter.place.result().release_place(asyncio.get_running_loop().time())
        self._hand_out()
