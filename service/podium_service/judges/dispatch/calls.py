"""One reply out of a judge's endpoints: the only loop of attempts, under the caller's deadline.

It waits for a place in the line, keeps to the allowance, backs off, goes elsewhere, and gives up
what an endpoint does not accept. Nothing else is retried here.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from random import uniform
from typing import Any, Protocol

import structlog

from podium_service.errors import (
    BudgetExhausted,
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.dispatch.admission import Admission
from podium_service.judges.dispatch.endpoint_queue import EndpointQueue
from podium_service.judges.dispatch.hedging import Sent, hedged
from podium_service.judges.dispatch.rate_limit import Buckets, RateLimiter, Ticket
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.dispatch.spend_limit import HeldBack, OnPaid, Quotas, SpendLimiter
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.errors import ParameterRejected
from podium_service.judges.endpoint.parameters import Parameters
from podium_service.judges.group_budget import Reservation
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import Prompt
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing

QUOTA_REST_S = 60.0
_BACKOFF_S, _MAX_BACKOFF_S = 0.25, 8.0
# A call that its caller gave up was late if it was out so long, and so many times as long as usual.
_LATE_S, _LATE_TIMES = 0.5, 4.0
_SMOOTHING = 0.1

log = structlog.get_logger(__name__)


class Shared(Quotas, Buckets, Protocol):
    """What all processes of a store count together; see `quotas`."""


class Calls:
    """The calls to one judge."""

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        metrics: Metrics,
        quotas: Shared | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        bounds = (config.concurrency.min, config.concurrency.max)
        self.endpoints = [
            Endpoint(str(url), config.api_key, concurrency=bounds) for url in config.base_urls
        ]
        self._queue = EndpointQueue(self.endpoints, config.timeout_s, self.report)
        self._pace = RateLimiter(name, config, quotas, self.report)
        self._allowance = SpendLimiter(name, config, quotas, metrics, self.report)
        self._admission = Admission(
            [self._pace, self._queue, self._allowance], config.queue, lambda: self._queue.held_s
        )
        self._name = name
        self._config = config
        self._metrics = metrics
        self._tracing = tracing
        self._parameters = Parameters(config)
        self._usual_s: float | None = None  # of calls that were answered, smoothed
        self._retired = False

    async def admit(self, request_context: RequestContext, num_calls: int) -> None:
        """Admit a group that is about to ask, or raise Overloaded before anything is spent."""
        await self._admission.admit(request_context, num_calls)

    async def complete(
        self,
        prompt: Prompt,
        max_tokens: int,
        request_context: RequestContext,
        reservation: Reservation,
    ) -> Reply:
        """One reply, from whichever endpoint gives it.

        Args:
            prompt: what to show.
            max_tokens: the cap on the reply.
            request_context: whose request it is: who pays, until when.
            reservation: what the group's budget holds for the call. A call beside or after one that
                may have been paid is made only if the budget holds another.

        Raises:
            JudgeError: If none does; its type says why.
            ContextOverflow: If the endpoint counts more tokens than fit.
            KeySpendLimit: If the caller's key may not spend that much.
            Overloaded: If the money for it stays reserved for other calls.
        """
        failed = 0
        avoid: str | None = None
        while True:
            try:
                attempt = partial(
                    self._attempt, prompt, max_tokens, request_context, reservation, avoid
                )
                return await hedged(attempt, self._config.hedge_after_s)
            except ParameterRejected as error:
                self._give_up_parameter(error, prompt, max_tokens)
            except JudgeError as error:
                if error.base_url is None:
                    raise
                if isinstance(error, JudgeQuotaExhausted):
                    continue  # elsewhere, if there is an elsewhere
                failed += 1
                if failed >= self._config.attempts or not _holds_another(reservation, error):
                    raise
                self._metrics.count_retry(self._name, error)
                avoid = error.base_url
                if failed > 1 or len(self.endpoints) == 1:
                    with request_context.timing.time_queue():
                        await asyncio.sleep(_backoff_s(failed))

    async def aclose(self) -> None:
        await asyncio.gather(*(endpoint.aclose() for endpoint in self.endpoints))

    async def _attempt(
        self,
        prompt: Prompt,
        max_tokens: int,
        request_context: RequestContext,
        reservation: Reservation,
        avoid: str | None,
        sent: Sent,
    ) -> Reply:
        async with AsyncExitStack() as stack:
            with request_context.timing.time_queue(), self._metrics.time_queueing(self._name):
                self._admission.note_queued(request_context.api_key_id)
                avoid = sent.base_url or avoid
                ticket, endpoint, paid = await self._enter(
                    stack, prompt, max_tokens, request_context, avoid
                )
            parameters = self._parameters.build(prompt, max_tokens)
            if sent.base_url:
                reservation.reserve_again()
                self._metrics.count_hedge(self._name)
            sent.to(endpoint.base_url)
            ticket.sent = True
            span = self._tracing.start_attempt(
                self._name, self._config.model, endpoint.base_url, max_tokens
            )
            try:
                with (
                    request_context.timing.time_judge(),
                    self._metrics.track_call(self._name),
                    reservation.track_call(),
                    span,
                ):
                    reply = await self._ask(endpoint, parameters)
                    span.set_reply(reply)
            except (JudgeRateLimited, JudgeQuotaExhausted, JudgeUnavailable) as error:
                self._rest(endpoint, error)
                error.base_url = endpoint.base_url
                raise
            paid(reply.tokens)
            ticket.tokens = reply.tokens
            return reply

    async def _ask(self, endpoint: Endpoint, parameters: dict[str, Any]) -> Reply:
        """Send, and learn how long a call usually is out."""
        clock = asyncio.get_running_loop().time
        started, timeout_s = clock(), self._config.timeout_s
        late_s = timeout_s / 2
        if self._usual_s is not None:
            late_s = min(late_s, max(_LATE_S, _LATE_TIMES * self._usual_s))
        try:
            reply = await endpoint.complete(parameters, timeout_s, late_s)
        finally:
            self._queue.was_held(clock() - started)
        took_s = clock() - started
        usual_s = took_s if self._usual_s is None else self._usual_s
        self._usual_s = usual_s + (took_s - usual_s) * _SMOOTHING
        return reply

    async def _enter(
        self,
        stack: AsyncExitStack,
        prompt: Prompt,
        max_tokens: int,
        request_context: RequestContext,
        avoid: str | None,
    ) -> tuple[Ticket, Endpoint, OnPaid]:
        """A place at an endpoint, leave to make a call and money for it, until the stack is left.

        What waits for money keeps neither from others: it lines up again once there is room. Leave
        is taken, and money reserved, only by who has a place: what only waits would hold others
        back, and what has waited with leave would go all at once.
        """
        ends_at: float | None = None
        while True:
            try:
                async with AsyncExitStack() as tried:
                    place = self._queue.place(request_context, self._prefix(prompt), avoid)
                    endpoint = await tried.enter_async_context(place)
                    leave = self._pace.ticket(prompt, max_tokens, request_context)
                    ticket = await tried.enter_async_context(leave)
                    if endpoint.pause_s() > 0:  # it has asked for that meanwhile
                        continue
                    call = self._allowance.call(prompt, max_tokens, request_context)
                    paid = await tried.enter_async_context(call)
                    stack.push_async_exit(tried.pop_all())
                    return ticket, endpoint, paid
            except HeldBack as held:
                ends_at = ends_at or asyncio.get_running_loop().time() + self._config.timeout_s
                await self._allowance.room(held, request_context.api_key_id, ends_at)

    def _rest(self, endpoint: Endpoint, error: JudgeError) -> None:
        """What an endpoint asks to wait holds for all its callers, and so does an empty account."""
        about = {"base_url": endpoint.base_url, "code": error.code}
        log.warning("judge_attempt_failed", judge=self._name, **about)  # its words may quote texts
        if isinstance(error, JudgeQuotaExhausted):
            endpoint.out_of_credit = error
            endpoint.pause(QUOTA_REST_S)
        elif isinstance(error, JudgeRateLimited) or error.retry_after_s:
            endpoint.pause((error.retry_after_s or 0.0) + _backoff_s(1))

    def _give_up_parameter(self, error: ParameterRejected, prompt: Prompt, max_tokens: int) -> None:
        """Learn from a refusal; it stands if what would be sent now is what was refused."""
        given_up = self._parameters.learn(error.parameters, error.server_message)
        if self._parameters.build(prompt, max_tokens) == error.parameters:
            raise JudgeRejected(str(error)) from error
        if given_up:  # else a call beside this one has given it up
            log.info("judge_parameter_dropped", judge=self._name, parameter=given_up)

    def _prefix(self, prompt: Prompt) -> bytes:
        """What prompts must share for a prefix cache to help: instructions and context."""
        if len(self.endpoints) == 1:
            return b""
        return "".join(parts[0] for _, parts in prompt.messages[:2]).encode()

    def retire(self) -> None:
        """No new groups come. Calls that still go on are shown in no gauge, which are those of
        whoever has the judge's name now."""
        self._retired = True
        self._metrics.clear_judge(self._name, [endpoint.base_url for endpoint in self.endpoints])

    def report(self) -> None:
        """Show what waits, and what the endpoints can take."""
        self._admission.changed()
        if self._retired:
            return
        self._metrics.set_waiting(self._name, self._admission.num_queued)
        for endpoint in self.endpoints:
            self._metrics.set_endpoint(
                self._name,
                endpoint.base_url,
                taken=endpoint.num_active,
                limit=endpoint.concurrency.limit,
                open_=endpoint.breaker.is_open,
            )


def _holds_another(reservation: Reservation, error: JudgeError) -> bool:
    """Whether one more call may be made where the one that failed may have been paid."""
    if error.unanswered:
        try:
            reservation.reserve_again()
        except BudgetExhausted:
            return False
    return True


def _backoff_s(failed: int) -> float:
    """Exponential, with jitter so that callers do not return all at once."""
    return uniform(0.5, 1.0) * min(_MAX_BACKOFF_S, _BACKOFF_S * 2.0 ** (failed - 1))
