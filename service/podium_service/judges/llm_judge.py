"""Ask a judge LLM a question and get a verdict: the seam between the ranking and its judges.

`dispatch.calls` gets a reply out of the judge's endpoints and retries what fails there. `ask` gets
a verdict out of replies, with at most one repetition, one correction and one longer reply:

    ask ──verdict──► done
     ├──cut off────► ask again with twice the tokens;         cut off again ──► VerdictTruncated
     ├──empty──────► ask the same again, once
     ├──malformed──► correct: reply, its fault, ask again;  malformed again ──► VerdictInvalid
     ├──refused────► JudgeRefused
     ├──prompt cut by the endpoint ──► ContextOverflow
     └──canary misplaced ──► VerdictVoid
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import structlog

from podium_service.errors import JudgeRefused, VerdictInvalid, VerdictTruncated, VerdictVoid
from podium_service.judges.dispatch.call_queues import PendingCall
from podium_service.judges.dispatch.calls import Calls
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.context_length import ContextLength
from podium_service.judges.endpoint.errors import ContextOverflow
from podium_service.judges.endpoint.truncation import TruncationCheck
from podium_service.judges.group_budget import Budget, estimate_call_tokens
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.call import Call
from podium_service.prompts.forms import FORMS, CanaryMisplaced
from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Fault, Verdict
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing

TOKENS_FOR_REASONING = 4_096
LEAST_CONTEXT_TOKENS = 512  # as in the settings
_CORRECTED_REPLY_CHARS = 2_000

log = structlog.get_logger(__name__)


class EndpointJudge:
    """A judge behind one or several OpenAI-compatible base URLs.

    Attributes:
        gives_probabilities: whether the endpoints give token probabilities, as far as is known.
    """

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        metrics: Metrics,
        quotas: QuotaService | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self.name = name
        self.config = config
        self._metrics = metrics
        self._calls = Calls(name, config, metrics, quotas, tracing)
        self.endpoints, self.queues = self._calls.endpoints, self._calls.queues
        self.gives_probabilities = True  # until a reply to a question about labels has none
        self._context = ContextLength(name, config.model, self.endpoints)
        self._truncation = TruncationCheck()
        self._told_context_tokens: int | None = None  # the least that an overflow has told

    async def admit(self, request_context: RequestContext, num_calls: int) -> None:
        """Admit a group that starts with `num_calls` calls, or raise Overloaded before it spends.

        The context's length is probed first, because calls that wait for it would not yet queue and
        so be missing from the bound.
        """
        await self.context_tokens()
        with self._metrics.count_refusals(self.name):
            await self.queues.admission.admit(request_context, num_calls)

    def describe_load(self) -> str:
        """Return in words what the judge has to do now, for an error about its slowness."""
        return self.queues.endpoint_queue.describe_load()

    async def context_tokens(self) -> int:
        """Return how many tokens the judge's context holds, prompt and reply together.

        The number comes from the settings, else from `/models`, else it is a common size; less if
        the endpoint has said so when it refused a call.
        """
        tokens = self.config.context_tokens or await self._context.get_tokens()
        return min(tokens, self._told_context_tokens or tokens)

    def reply_tokens(self, form: str, num_trajectories: int, context_tokens: int) -> int:
        """Return the cap on a reply's tokens.

        It is tight, because a model that repeats itself runs into it, but leaves tokens for
        reasoning where the context is large. It is no larger than what the endpoint accepts.
        """
        needed = FORMS[form].tokens * num_trajectories + 64
        cap = self.config.max_tokens or needed + TOKENS_FOR_REASONING
        return self._accepted_cap(min(cap, max(needed, context_tokens // 4)))

    def _accepted_cap(self, max_tokens: int) -> int:
        return min(max_tokens, self._calls.max_reply_tokens or max_tokens)

    async def ask(
        self,
        prompt: Prompt,
        max_tokens: int,
        on_call: Callable[[Call], None],
        budget: Budget,
        request_context: RequestContext,
    ) -> Verdict:
        """Get one verdict, as the state machine above says.

        Args:
            max_tokens: the cap on the reply.
            on_call: called with each answered call, also one without a verdict: it is paid, too.
            budget: what the group may still spend; each call is reserved before it is made.

        Raises:
            JudgeError: If no verdict can be had; its type says why.
            ContextOverflow: If the endpoint counts more tokens than fit, or cut the prompt.
            BudgetExhausted: If the budget does not hold the next call.
        """
        attempt = _Attempt(prompt, max_tokens)
        while True:
            started = perf_counter()
            reply = await self._complete(attempt, budget, request_context)
            latency_s = perf_counter() - started
            if FORMS[prompt.form].schema is None:
                self.gives_probabilities = bool(reply.logprobs)
            try:
                if self._truncation.is_cut(attempt.prompt, reply.prompt_tokens_at_most):
                    raise _PromptCut(f"only {reply.prompt_tokens_at_most} tokens were read")
                verdict = _read_verdict(reply, prompt).shortened(self.config.explanation_chars)
            except (Fault, CanaryMisplaced) as fault:
                on_call(Call(attempt.prompt, reply, None, str(fault), latency_s))
                attempt = self._next_attempt(prompt, attempt, reply, fault)
            else:
                on_call(Call(attempt.prompt, reply, verdict, None, latency_s))
                return verdict

    async def _complete(
        self, attempt: "_Attempt", budget: Budget, request_context: RequestContext
    ) -> Reply:
        """Make one call within the group's budget; raises as `ask` does."""
        try:
            with budget.reserve(attempt.prompt, attempt.max_tokens) as reservation:
                reply = await self._calls.complete(
                    PendingCall(attempt.prompt, attempt.max_tokens, request_context, reservation)
                )
                reservation.settle(reply.tokens.prompt + reply.tokens.completion)
                return reply
        except ContextOverflow as error:
            self._learn_context(error, attempt)
            if attempt.corrected or attempt.extended:
                raise VerdictInvalid(f"no context left to ask again: {error}") from error
            raise

    def _learn_context(self, overflow: ContextOverflow, attempt: "_Attempt") -> None:
        """Keep the context that a refusal tells, if that explains why the call was refused."""
        tokens = overflow.limit_tokens
        sent = estimate_call_tokens(attempt.prompt, self._accepted_cap(attempt.max_tokens))
        if tokens and LEAST_CONTEXT_TOKENS <= tokens < min(sent, self._told_context_tokens or sent):
            self._told_context_tokens, overflow.is_learnt = tokens, True
            log.info("judge_context_told", judge=self.name, context_tokens=tokens)

    def _next_attempt(
        self, prompt: Prompt, attempt: "_Attempt", reply: Reply, fault: Exception
    ) -> "_Attempt":
        """Return what to send after a reply without a verdict; raises as `ask` does."""
        detail = f"{self.config.model}: {fault}"
        if isinstance(fault, CanaryMisplaced):
            raise VerdictVoid(detail) from fault
        if isinstance(fault, _Refusal):
            raise JudgeRefused(detail) from fault
        if isinstance(fault, _PromptCut):
            if attempt.corrected or attempt.extended:
                raise VerdictInvalid(f"no context left to ask again: {detail}") from fault
            words = f"{detail}, and the prompt is longer: set context_tokens"
            overflow = ContextOverflow(words, reply.prompt_tokens_at_most, was_paid=True)
            self._learn_context(overflow, attempt)
            raise overflow
        if isinstance(fault, _CutOff):
            return self._extend(prompt, attempt, reply, fault)
        if reply.is_empty and not attempt.repeated:
            return replace(attempt, repeated=True)
        if attempt.corrected:
            raise VerdictInvalid(f"{detail}, after one correction") from fault
        correction = FORMS[prompt.form].correction(str(fault), prompt.shown_ids)
        followed = prompt.with_correction(reply.text[:_CORRECTED_REPLY_CHARS], correction)
        return replace(attempt, prompt=followed, corrected=True)

    def _extend(
        self, prompt: Prompt, attempt: "_Attempt", reply: Reply, fault: "_CutOff"
    ) -> "_Attempt":
        """Return the same question with twice the tokens for its reply; raises as `ask` does."""
        detail = f"{self.config.model}: {fault}"
        if attempt.extended:
            raise VerdictTruncated(f"{detail}, twice the cap included") from fault
        cap = self._accepted_cap(attempt.max_tokens)
        if 0 < reply.tokens.completion < cap:
            raise ContextOverflow(f"{detail}, below the cap", was_paid=True) from fault
        if self._accepted_cap(2 * cap) == cap:
            raise VerdictTruncated(f"{detail}, the most that the endpoint allows") from fault
        return replace(attempt, prompt=prompt, max_tokens=2 * cap, extended=True)

    async def reply(self, prompt: Prompt, max_tokens: int) -> Reply:
        """Get one reply, whatever it says; raises as `ask` does."""
        return await self._complete(_Attempt(prompt, max_tokens), Budget(None), RequestContext())

    async def aclose(self) -> None:
        """Close the connections to the endpoints."""
        await self._context.aclose()
        await asyncio.gather(*(endpoint.aclose() for endpoint in self.endpoints))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The next attempt to get one verdict, and the remedies that were tried before.

    Attributes:
        corrected: whether a faulty reply has been corrected; it is part of the prompt then.
        extended: whether a reply that was cut off has had its cap doubled.
        repeated: whether an empty reply has been asked for again.
    """

    prompt: Prompt
    max_tokens: int
    corrected: bool = False
    extended: bool = False
    repeated: bool = False


class _Refusal(Fault):
    """The judge refuses to answer, or a content filter stopped it."""


class _PromptCut(Fault):
    """The endpoint read only a part of the prompt, by its own count, and did not say so."""


class _CutOff(Fault):
    """The reply ended at a limit on its tokens before it was a verdict."""


def _read_verdict(reply: Reply, prompt: Prompt) -> Verdict:
    """Read the verdict out of a reply to `prompt`.

    Raises:
        Fault: If it holds none: a _Refusal, a _CutOff, or a malformed reply.
        CanaryMisplaced: If the planted bad trajectory is not placed low.
    """
    if reply.refusal:
        raise _Refusal(f"refused: {reply.refusal[:200]}")
    if reply.finish_reason == "content_filter":
        raise _Refusal("stopped by the endpoint's content filter")
    try:
        return FORMS[prompt.form].read(reply, prompt)
    except Fault as fault:
        if reply.is_cut_off:
            raise _CutOff(f"cut off after {reply.tokens.completion} tokens") from fault
        raise
