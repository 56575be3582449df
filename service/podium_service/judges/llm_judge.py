"""The seam to a judge LLM: a prompt -> a verdict.

`outbound.calls` gets replies out of endpoints; `ask` gets one verdict out of replies: one that is
cut off is asked for again with twice the tokens, a faulty one gets one correction. Nothing else is
retried here.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from podium_service.errors import JudgeRefused, VerdictInvalid, VerdictTruncated, VerdictVoid
from podium_service.judges.dispatch.calls import Calls, Shared
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.context_length import ContextLength
from podium_service.judges.endpoint.endpoint import ContextOverflow, Endpoint
from podium_service.judges.group_budget import Budget
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.call import Call
from podium_service.prompts.forms import FORMS, CanaryMisplaced
from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Fault, Verdict
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing

TOKENS_FOR_REASONING = 4_096
_CORRECTED_REPLY_CHARS = 2_000


OnCall = Callable[[Call], None]


class Judge(Protocol):
    """Whatever turns a prompt into a verdict; passed in by constructor, faked in tests."""

    config: LLMJudge

    async def context_tokens(self) -> int: ...

    def reply_tokens(self, form: str, num_trajectories: int, context_tokens: int) -> int: ...

    async def admit(self, request_context: RequestContext, num_calls: int) -> None: ...

    async def ask(
        self,
        prompt: Prompt,
        max_tokens: int,
        on_call: OnCall,
        budget: Budget,
        request_context: RequestContext,
    ) -> Verdict: ...


class EndpointJudge:
    """A judge behind one or several OpenAI-compatible base URLs."""

    def __init__(
        self,
        name: str,
        config: LLMJudge,
        metrics: Metrics,
        quotas: Shared | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self.name = name
        self.config = config
        self._metrics = metrics
        self._calls = Calls(name, config, metrics, quotas, tracing)
        self._context = ContextLength(name, config.model, self.endpoints)

    @property
    def endpoints(self) -> list[Endpoint]:
        return self._calls.endpoints

    def report(self) -> None:
        """Show in the gauges what its endpoints can take."""
        self._calls.report()

    def retire(self) -> None:
        """Another has its place: show nothing in the gauges any more."""
        self._calls.retire()

    async def admit(self, request_context: RequestContext, num_calls: int) -> None:
        """Admit a group that starts with `num_calls` calls, or raise Overloaded before it spends.

        The context's length is probed first, because calls that wait for it would not yet queue and
        so be missing from the bound.
        """
        await self.context_tokens()
        with self._metrics.count_refusals(self.name):
            await self._calls.admit(request_context, num_calls)

    async def context_tokens(self) -> int:
        """The judge's context, prompt and reply together: from config, else from `/models`, else
        a common size."""
        return self.config.context_tokens or await self._context.tokens()

    def reply_tokens(self, form: str, num_trajectories: int, context_tokens: int) -> int:
        """The cap on a reply's tokens: tight, since a model that loops runs into it, but with room
        for reasoning where the context is large."""
        needed = FORMS[form].tokens * num_trajectories + 64
        cap = self.config.max_tokens or needed + TOKENS_FOR_REASONING
        return min(cap, max(needed, context_tokens // 4))

    async def ask(
        self,
        prompt: Prompt,
        max_tokens: int,
        on_call: OnCall,
        budget: Budget,
        request_context: RequestContext,
    ) -> Verdict:
        """One verdict.

        Args:
            prompt: what to show.
            max_tokens: the cap on the reply.
            on_call: told of every answered call, the useless ones included: they are paid, too.
            budget: what the group may still spend; every call is taken from it before it is made,
                one that is made beside or after another that may have been paid included.
            caller: who asks, and pays.

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
                with budget.call(conversation, max_tokens) as outlay:
                    reply = await self._calls.complete(
                        conversation, max_tokens, request_context, outlay
                    )
                    outlay.took(reply.tokens.prompt + reply.tokens.completion)
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

    async def reply(self, prompt: Prompt, max_tokens: int) -> Reply:
        """One reply, whatever it says; raises as `ask` does."""
        with Budget(None).call(prompt, max_tokens) as outlay:
            return await self._calls.complete(prompt, max_tokens, RequestContext(), outlay)

    async def aclose(self) -> None:
        await self._context.aclose()
        await self._calls.aclose()


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
