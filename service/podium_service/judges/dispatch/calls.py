"""Get one reply out of a judge's endpoints: the only loop of attempts, under the caller's deadline.

    complete ──► wait for a place, the rate and money ──► send ──reply──► done
       ▲                                                    │
       └──after a back-off, at another endpoint, at most────┤ no answer, 429, 5xx
       │  `attempts` times                                  │
       │                                                    │ a reply that it could not read
       └──without what was refused──────────────────────────┘ a parameter was rejected

Other failures are raised at once. Replies that are no verdict are asked again in `llm_judge`.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from random import uniform
from typing import Any

import structlog

from podium_service import errors
from podium_service.judges.dispatch.call_queues import CallQueues, PendingCall
from podium_service.judges.dispatch.hedging import FirstSent, hedge
from podium_service.judges.endpoint.dialects.choice import open_dialect
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.errors import ENDPOINT_FAILURES, ParameterRejected
from podium_service.judges.endpoint.parameters import Lowered, Parameters
from podium_service.judges.endpoint.patience import Patience
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Reply
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracebacks import drop_locals_on_error
from podium_service.telemetry.tracing import UNTRACED, Tracing

NO_CREDIT_PAUSE_S = 60.0
# How long an endpoint may answer nobody where neither the settings nor a deadline say less.
MAX_SILENCE_S = 600.0
_BACKOFF_S, _MAX_BACKOFF_S = 0.25, 8.0
# A call that its caller gave up was late if it took so long, and so many times as long as usual; if
# nobody knows what is usual, or at the latest, after the last number of seconds.
_LATE_S, _LATE_TIMES, _LATEST_S = 0.5, 4.0, 30.0
_SMOOTHING = 0.1

log = structlog.get_logger(__name__)


class Calls:
    """The calls to one judge."""

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        metrics: Metrics,
        quotas: QuotaService | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        bounds = (config.concurrency.min, config.concurrency.max)
        secrets = config.read_secrets()
        self.endpoints = [
            Endpoint(url, open_dialect(config, url), secrets=secrets, concurrency=bounds)
            for url in map(str, config.base_urls)
        ]
        self.queues = CallQueues(name, config, self.endpoints, quotas, metrics)
        self._name = name
        self._config = config
        self._metrics = metrics
        self._tracing = tracing
        self._parameters = Parameters(config)
        self._usual_s = 0.0  # how long an answered call takes, smoothed; 0 before the first one

    @property
    def max_reply_tokens(self) -> int | None:
        """The largest cap on a reply that the endpoints accept; None while it is unknown."""
        return self._parameters.max_reply_tokens

    @drop_locals_on_error
    async def complete(self, call: PendingCall) -> Reply:
        """Get one reply, from any of the endpoints.

        Raises:
            JudgeError: If no endpoint gives a reply; its type says why.
            ContextOverflow: If the endpoint counts more tokens than fit.
            KeySpendLimit: If the caller's API key may not spend that much.
            Overloaded: If the money for it stays reserved for other calls.
        """
        num_failed, lowered = 0, Lowered()
        avoid: str | None = None
        while True:
            if call.request_context.is_ending:
                raise errors.JudgeUnavailable("not asked, because another call of the group failed")
            try:
                attempt = partial(self._attempt, call, lowered, num_failed, avoid)
                reply = await hedge(attempt, self._config.hedge_after_s)
                call.request_context.is_at_judge = False
                return reply
            except (ParameterRejected, errors.JudgeError) as error:
                if isinstance(error, errors.JudgeError):
                    failure = error
                elif self._give_up_parameter(error, call, lowered):
                    continue
                else:
                    failure = error.otherwise
                    failure.__cause__ = error
                    del error.otherwise  # because the two would hold each other
                call.request_context.is_at_judge = False
                if failure.base_url is None:
                    raise failure from failure.__cause__
                if isinstance(failure, errors.JudgeQuotaExhausted):
                    continue  # the queue raises once no endpoint has credit
                num_failed += 1
                self._doubt_format(failure, call, lowered)
                if num_failed >= self._config.attempts or not _reserve_retry(call, failure):
                    raise failure from failure.__cause__
                self._metrics.count_retry(self._name, failure)
                avoid = failure.base_url
                if num_failed > 1 or len(self.endpoints) == 1:
                    with call.request_context.timing.track("queue"):
                        await asyncio.sleep(_backoff_s(num_failed))

    async def _attempt(
        self,
        call: PendingCall,
        lowered: Lowered,
        num_failed: int,
        avoid: str | None,
        first_sent: FirstSent,
    ) -> Reply:
        """Wait until the call may be made, and make it once."""
        timing = call.request_context.timing
        async with AsyncExitStack() as stack:
            with timing.track("queue"), self._metrics.time_queueing(self._name):
                is_second = first_sent.done()
                avoid = first_sent.result() if is_second else avoid
                endpoint, permit = await self.queues.acquire(stack, call, avoid)
            parameters = self._parameters.build(call.prompt, call.max_tokens, lowered)
            if is_second:
                call.reservation.reserve_again()
                self._metrics.count_hedge(self._name)
            else:
                first_sent.set_result(endpoint.base_url)
            permit.sent = call.request_context.is_at_judge = True
            span = self._tracing.start_attempt(
                self._name, self._config.model, endpoint.base_url, call.max_tokens
            )
            try:
                with (
                    timing.track("judge"),
                    self._metrics.track_call(self._name),
                    call.reservation.track_call(),
                    span,
                ):
                    patience = self._patience(call, num_failed)
                    reply = await self._send(endpoint, parameters, patience)
                    span.set_reply(reply)
            except ENDPOINT_FAILURES as error:
                self._report_failure(endpoint, error)
                error.base_url = endpoint.base_url
                raise
            self._parameters.note_answer(parameters, lowered)
            if reply.tokens.prompt or reply.tokens.completion:
                permit.tokens = reply.tokens
            return reply

    def _patience(self, call: PendingCall, num_failed: int) -> Patience:
        """Return how long an answer is waited for.

        An answer that takes long is worth the wait, because it is being worked on, and paid. The
        deadline of a group ends its calls anyway. But while other endpoints have not been tried,
        each of them gets its share of the time that is left to show that it answers anyone.
        """
        if self._config.timeout_s is not None:
            return Patience(self._config.timeout_s)
        num_untried = len(self.endpoints) - num_failed
        if num_untried <= 1:
            return Patience(MAX_SILENCE_S, is_renewed=True)
        # The time left may be over already where callers with later deadlines share the call.
        left_s = call.request_context.ends_at - asyncio.get_running_loop().time()
        return Patience(min(MAX_SILENCE_S, max(1.0, left_s) / num_untried), is_renewed=True)

    async def _send(
        self, endpoint: Endpoint, parameters: dict[str, Any], patience: Patience
    ) -> Reply:
        """Send a call, and learn how long calls usually take."""
        clock = asyncio.get_running_loop().time
        started, late_s = clock(), min(_LATEST_S, patience.seconds / 2)
        if self._usual_s:
            late_s = min(late_s, max(_LATE_S, _LATE_TIMES * self._usual_s))
        try:
            reply = await endpoint.complete(parameters, patience, late_s)
        except asyncio.CancelledError:
            about = {"judge": self._name, "base_url": endpoint.base_url}
            after_s, load = round(clock() - started, 3), endpoint.load
            log.info("judge_call_cancelled", **about, after_s=after_s, **load)
            raise
        finally:
            self.queues.endpoint_queue.record_hold(clock() - started)
        call_s = clock() - started
        self._usual_s += (call_s - self._usual_s) * (_SMOOTHING if self._usual_s else 1.0)
        return reply

    def _report_failure(self, endpoint: Endpoint, error: errors.JudgeError) -> None:
        """Log a failure, and pause the endpoint if it asks to wait, or if its credit is used up.

        The error's detail is not logged, because a server's words may quote a caller's text.
        """
        about = {"judge": self._name, "base_url": endpoint.base_url, "code": error.code}
        log.warning("judge_attempt_failed", **about, **error.facts)
        if isinstance(error, errors.JudgeQuotaExhausted):
            endpoint.out_of_credit = error.detail
            endpoint.pause(error.retry_after_s or NO_CREDIT_PAUSE_S)
        elif isinstance(error, errors.JudgeRateLimited) or error.retry_after_s:
            endpoint.pause((error.retry_after_s or 0.0) + _backoff_s(1))

    def _give_up_parameter(
        self, error: ParameterRejected, call: PendingCall, lowered: Lowered
    ) -> bool:
        """Learn from a refusal; return whether the next call will be another one."""
        # A fault of the call is sometimes answered as one of the server, whose words may mislead.
        is_sure = not isinstance(error.otherwise, errors.JudgeUnavailable)
        given_up = self._parameters.learn(error.parameters, error.words, is_sure=is_sure)
        parameters = self._parameters.build(call.prompt, call.max_tokens, lowered)
        if parameters == error.parameters:
            return self._parameters.may_lower(error.parameters, lowered, error.words)
        if given_up:  # is None if a concurrent call has given it up
            log.info("judge_parameter_dropped", judge=self._name, parameter=given_up)
        return True

    def _doubt_format(self, error: errors.JudgeError, call: PendingCall, lowered: Lowered) -> None:
        """Ask for less of a format where it may be why an endpoint failed or read no reply."""
        if isinstance(error, errors.VerdictInvalid):
            lowered.num_formats += 1
        elif error.facts.get("status") == 500:
            sent = self._parameters.build(call.prompt, call.max_tokens, lowered)
            self._parameters.may_lower(sent, lowered)


def _reserve_retry(call: PendingCall, error: errors.JudgeError) -> bool:
    """Return whether a call may be made again; reserve it if the failed one may have been paid."""
    if error.unanswered:
        try:
            call.reservation.reserve_again()
        except errors.BudgetExhausted:
            return False
    return True


def _backoff_s(num_failed: int) -> float:
    """Return an exponential back-off, with jitter so that callers do not return all at once."""
    return uniform(0.5, 1.0) * min(_MAX_BACKOFF_S, _BACKOFF_S * 2.0 ** (num_failed - 1))
