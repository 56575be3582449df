"""Hold a judge call back until it has a place at an endpoint, a permit of the rate, and money.

acquire ──► place at an endpoint ──► permit of the rate ──► money ──► held until the stack ends
   ▲                 endpoint paused │      blocked │
   └─────────────────────────────────┴── wait ◄─────┘   what was held is released
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from podium_service.judges.dispatch.admission import Admission
from podium_service.judges.dispatch.endpoint_queue import EndpointQueue
from podium_service.judges.dispatch.rate_limit import Permit, RateLimiter
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.dispatch.spend_limit import SpendBlocked, SpendLimiter
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.group_budget import Reservation
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.templates import Prompt
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics

PATIENCE_S = 60.0  # how long a call waits for the end of a pause, or for money, unless set


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call to make: what to send, for whom, and what the group's budget holds for it.

    One beside or after a call that may have been paid is made only if the budget holds another.
    """

    prompt: Prompt
    max_tokens: int
    request_context: RequestContext
    reservation: Reservation


class CallQueues:
    """The queues of one judge's calls, and the admission of groups to them."""

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        endpoints: Sequence[Endpoint],
        quotas: QuotaService | None,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._patience_s = config.timeout_s or PATIENCE_S
        self._endpoints = endpoints
        self._metrics = metrics
        self._is_retired = False
        self._rate_limiter = RateLimiter(name, config, quotas, self.report)
        self._spend_limiter = SpendLimiter(name, config, quotas, metrics, self.report)
        self.endpoint_queue = EndpointQueue(endpoints, self._patience_s, self.report)
        queues = [self._rate_limiter, self.endpoint_queue, self._spend_limiter]
        self.admission = Admission(queues, config.queue, lambda: self.endpoint_queue.hold_s)

    async def acquire(
        self, stack: AsyncExitStack, call: PendingCall, avoid: str | None
    ) -> tuple[Endpoint, Permit]:
        """Wait for a place at an endpoint, the rate and money, and hold them until the stack ends.

        A call that lacks money releases the rest, and queues again once there may be money. The
        rate and the money are taken only by a call that has a place. Otherwise calls that wait
        would hold back others, and those that had waited with a permit would be sent all at once.

        Returns:
            The endpoint, not the one at `avoid` if there is another, and the permit, which the
            caller completes.
        """
        prompt, max_tokens, request_context = call.prompt, call.max_tokens, call.request_context
        self.admission.note_queued(request_context.api_key_id)
        prefix = b""
        if len(self._endpoints) > 1:  # what must be equal for a prefix cache to help
            prefix = prompt.prefix.encode()
        ends_at: float | None = None
        while True:
            try:
                async with AsyncExitStack() as held:
                    place = self.endpoint_queue.hold_place(request_context, prefix, avoid)
                    endpoint = await held.enter_async_context(place)
                    rate = self._rate_limiter.acquire(prompt, max_tokens, request_context)
                    permit = await held.enter_async_context(rate)
                    if endpoint.pause_s() > 0:  # since the call got its place
                        continue
                    money = self._spend_limiter.reserve(prompt, max_tokens, request_context, permit)
                    await held.enter_async_context(money)
                    stack.push_async_exit(held.pop_all())
                    return endpoint, permit
            except SpendBlocked as blocked:
                ends_at = ends_at or asyncio.get_running_loop().time() + self._patience_s
                await self._spend_limiter.wait(blocked, request_context.api_key_id, ends_at)

    def report(self) -> None:
        """Show what waits and what the endpoints can take, and admit groups that now fit."""
        self.admission.notify_change()
        if self._is_retired:
            return
        self._metrics.set_waiting(self._name, self.admission.num_queued)
        for endpoint in self._endpoints:
            self._metrics.set_endpoint(
                self._name,
                endpoint.base_url,
                num_active=endpoint.num_active,
                limit=endpoint.concurrency.limit,
                open_=endpoint.breaker.is_open,
            )

    def retire(self) -> None:
        """Update no gauge any more, because another judge has this one's name."""
        self._is_retired = True
        self._metrics.clear_judge(self._name, [endpoint.base_url for endpoint in self._endpoints])
