"""The seam to a judge LLM: a prompt -> a verdict. The only network, the only retries.

Two loops. `_complete` gets one reply out of an endpoint: it picks the least busy base URL, waits
out rate limits, backs off, and gives up what the endpoint does not accept. `ask` gets one verdict
out of replies: one that is cut off is asked for again with twice the tokens, a faulty one gets one
correction. Nothing else is retried.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from time import perf_counter
from typing import Protocol

import structlog

from service.budget import Budget
from service.endpoint import ContextOverflow, Endpoint, ParameterRejected, Reply
from service.errors import (
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRefused,
    JudgeRejected,
    JudgeUnavailable,
    VerdictInvalid,
    VerdictTruncated,
    VerdictVoid,
)
from service.forms import FORMS, CanaryMisplaced
from service.judge_config import LLMJudge
from service.metrics import Metrics
from service.parameters import Parameters
from service.prompts import Prompt
from service.verdict import Fault, Verdict

DEFAULT_CONTEXT_TOKENS = 32_768
TOKENS_FOR_REASONING = 4_096
QUOTA_REST_S = 60.0
_BACKOFF_S, _MAX_BACKOFF_S = 0.25, 8.0
_CORRECTED_REPLY_CHARS = 2_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call: what was asked, what came back, and what it was worth."""

    prompt: Prompt
    reply: Reply
    verdict: Verdict | None
    fault: str | None
    latency_s: float


OnCall = Callable[[Call], None]


class Judge(Protocol):
    """Whatever turns a prompt into a verdict; passed in by constructor, faked in tests."""

    config: LLMJudge

    async def context_tokens(self) -> int: ...

    def reply_tokens(self, form: str, num_trajectories: int, context_tokens: int) -> int: ...

    async def ask(
        self, prompt: Prompt, max_tokens: int, on_call: OnCall, budget: Budget
    ) -> Verdict: ...


class EndpointJudge:
    """A judge behind one or several OpenAI-compatible base URLs."""

    def __init__(self, name: str, config: LLMJudge, metrics: Metrics) -> None:
        self.name = name
        self.config = config
        self.endpoints = [
            Endpoint(str(url), config.api_key, config.concurrency) for url in config.base_urls
        ]
        self._metrics = metrics
        self._parameters = Parameters(config)
        self._places = asyncio.Semaphore(config.concurrency)
        self._context_tokens = config.context_tokens
        self._probing = asyncio.Lock()

    async def context_tokens(self) -> int:
        """The judge's context, prompt and reply together: from config, else from `/models`, else
        a common size."""
        async with self._probing:
            if self._context_tokens is None:
                self._context_tokens = await self._probed_context()
        return self._context_tokens or DEFAULT_CONTEXT_TOKENS

    async def _probed_context(self) -> int | None:
        """`max_model_len` of our model; None while the endpoint cannot be asked."""
        try:
            listed = await self.endpoints[0].models()
        except JudgeUnavailable as error:
            log.warning("judge_context_unknown", judge=self.name, code=error.code)
            return None
        except (JudgeError, ParameterRejected, ContextOverflow):
            listed = []
        ours = (entry for entry in listed if entry.get("id") == self.config.model)
        length = next(ours, {}).get("max_model_len")
        return length if isinstance(length, int) and length > 0 else DEFAULT_CONTEXT_TOKENS

    def reply_tokens(self, form: str, num_trajectories: int, context_tokens: int) -> int:
        """The cap on a reply's tokens: tight, since a model that loops runs into it, but with room
        for reasoning where the context is large."""
        needed = FORMS[form].tokens * num_trajectories + 64
        cap = self.config.max_tokens or needed + TOKENS_FOR_REASONING
        return min(cap, max(needed, context_tokens // 4))

    async def ask(
        self, prompt: Prompt, max_tokens: int, on_call: OnCall, budget: Budget
    ) -> Verdict:
        """One verdict.

        Args:
            prompt: what to show.
            max_tokens: the cap on the reply.
            on_call: told of every answered call, the useless ones included: they are paid, too.
            budget: what the group may still spend; every call is taken from it before it is made.

        Raises:
            JudgeError: If no verdict can be had; its type says why.
            ContextOverflow: If the endpoint counts more tokens than fit.
            BudgetExhausted: If the budget does not hold the next call.
        """
        corrected = extended = False
        conversation = prompt
        while True:
            started = perf_counter()
            try:
                with budget.call(conversation, max_tokens) as spend:
                    reply = await self._complete(conversation, max_tokens)
                    spend(reply.tokens.prompt + reply.tokens.completion)
            except ContextOverflow as error:
                if corrected or extended:
                    raise VerdictInvalid(f"no room left to ask again: {error}") from error
                raise
            verdict, fault, void = _read(reply, prompt)
            on_call(Call(conversation, reply, verdict, fault, perf_counter() - started))
            if verdict:
                return verdict
            if void:
                raise VerdictVoid(f"{self.config.model}: {fault}")
            if reply.refusal or reply.finish_reason == "content_filter":
                raise JudgeRefused(f"{self.config.model}: {fault}")
            if reply.finish_reason == "length":
                if extended:
                    raise VerdictTruncated(f"{self.config.model}: {fault}, twice the cap included")
                if 0 < reply.tokens.completion < max_tokens:  # not our cap: the context is full
                    raise ContextOverflow(f"{self.config.model}: {fault}, below the cap")
                extended, max_tokens, conversation = True, 2 * max_tokens, prompt
            elif corrected:
                raise VerdictInvalid(f"{self.config.model}: {fault}, after one correction")
            else:
                corrected = True
                conversation = prompt.followed_by(
                    reply.text[:_CORRECTED_REPLY_CHARS],
                    FORMS[prompt.form].correction(fault or "", prompt.shown_ids),
                )

    async def aclose(self) -> None:
        await asyncio.gather(*(endpoint.aclose() for endpoint in self.endpoints))

    async def _complete(self, prompt: Prompt, max_tokens: int) -> Reply:
        """One reply, from whichever endpoint gives it."""
        failed = 0
        while True:
            parameters = self._parameters.build(prompt, max_tokens)
            async with self._places:
                endpoint = await self._rested_endpoint()
                try:
                    with self._metrics.judge_call(self.name):
                        return await endpoint.complete(parameters, self.config.timeout_s)
                except ParameterRejected as error:
                    given_up = self._parameters.learn(parameters, error.said)
                    if not given_up:
                        raise JudgeRejected(str(error)) from error
                    log.info("judge_parameter_dropped", judge=self.name, parameter=given_up)
                    continue
                except JudgeQuotaExhausted as error:
                    self._log_failure(endpoint, error)
                    endpoint.spent = error
                    endpoint.rest(QUOTA_REST_S)
                    continue  # elsewhere, if there is an elsewhere
                except (JudgeRateLimited, JudgeUnavailable) as error:
                    self._log_failure(endpoint, error)
                    failed += 1
                    if failed >= self.config.attempts:
                        raise
                    failure = error
            await self._back_off(endpoint, failure, _backoff_s(failed))

    def _log_failure(self, endpoint: Endpoint, error: JudgeError) -> None:
        """Without its words: they may quote a trajectory."""
        about = {"base_url": endpoint.base_url, "code": error.code}
        log.warning("judge_attempt_failed", judge=self.name, **about)

    async def _back_off(self, endpoint: Endpoint, error: JudgeError, seconds: float) -> None:
        """A rate limit holds for all callers of an endpoint; a failure sends this one elsewhere,
        or lets it wait where there is no elsewhere."""
        if isinstance(error, JudgeRateLimited):
            endpoint.rest((error.retry_after_s or 0.0) + seconds)
        elif len(self.endpoints) > 1:
            endpoint.rest(seconds)
        else:
            await asyncio.sleep(seconds)

    async def _rested_endpoint(self) -> Endpoint:
        """The least busy endpoint that may be called now; waits if none may.

        Raises:
            JudgeRateLimited: If the endpoints ask for more patience than one attempt is given.
            JudgeQuotaExhausted: If no endpoint has credit left; it is not called for a while.
        """
        while True:
            endpoint = min(
                self.endpoints,
                key=lambda each: (
                    bool(each.spent and each.rest_s()),
                    each.rest_s(),
                    each.in_flight,
                ),
            )
            rest_s = endpoint.rest_s()
            if rest_s <= 0:
                endpoint.spent = None
                return endpoint
            if endpoint.spent:
                raise JudgeQuotaExhausted(endpoint.spent.detail)
            if rest_s > self.config.timeout_s:
                raise JudgeRateLimited(
                    f"{endpoint.base_url} asks to wait {rest_s:.0f} s", retry_after_s=rest_s
                )
            await asyncio.sleep(rest_s)


def _backoff_s(failed: int) -> float:
    """Exponential, with jitter so that callers do not return all at once."""
    return uniform(0.5, 1.0) * min(_MAX_BACKOFF_S, _BACKOFF_S * 2.0 ** (failed - 1))


def _read(reply: Reply, prompt: Prompt) -> tuple[Verdict | None, str | None, bool]:
    """The verdict, or why there is none, and whether that is void rather than malformed."""
    if reply.refusal:
        return None, f"refused: {reply.refusal[:200]}", False
    if reply.finish_reason == "content_filter":
        return None, "stopped by the endpoint's content filter", False
    try:
        return FORMS[prompt.form].read(reply, prompt), None, False
    except CanaryMisplaced as misplaced:
        return None, str(misplaced), True
    except Fault as fault:
        if reply.finish_reason == "length":
            return None, f"cut off after {reply.tokens.completion} tokens", False
        return None, str(fault), False
