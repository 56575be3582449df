"""Make the calls of an LLM judge about one group, round by round.

Each call stays within the group's budget, its prompt is trimmed to the judge's context, and its
verdict is stored as soon as it arrives.

    plan -> make all missing calls at once -+-> all gave verdicts: plan again
                                            +-> the budget is spent: stop
                                            +-> a prompt overflows the context: repeat, trimmed
                                            +-> a call fails: raise, after a grace (see `grace`)
    no calls planned -> stop; the verdicts must suffice for a ranking
"""

from collections.abc import Coroutine
from dataclasses import replace
from enum import Enum
from typing import Any

from podium_service.errors import BudgetExhausted, PodiumError, VerdictVoid
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.errors import ContextOverflow
from podium_service.judges.group_budget import Budget
from podium_service.prompts.call import Call
from podium_service.prompts.reply import Reply, Tokens
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.kinds.grace import run_at_once
from podium_service.ranking.kinds.run import CallPrompts, Run
from podium_service.ranking.methods import Plan, Situation
from podium_service.ranking.methods.designs import links_all
from podium_service.schemas import Usage
from podium_service.store.protocol import Store, StoredVerdicts
from podium_service.telemetry.metrics import Metrics

# The reply that stands for a question that another group has asked.
_ANSWERED_BEFORE = "(answered before, in another group)"


class RoundOutcome(Enum):
    """The ways in which a round of calls ends without an error."""

    ANSWERED = "every call gave a verdict"
    BUDGET_SPENT = "a call did not fit the budget"


class Rounds:
    """The rounds of one run: its budget, its prompts, and its verdicts as they arrive.

    Attributes:
        verdicts: the verdicts so far, by the index of their question in the method's plan.
    """

    def __init__(self, run: Run, stored: StoredVerdicts, store: Store, metrics: Metrics) -> None:
        self.verdicts: dict[int, Verdict] = dict(stored.verdicts)
        self._run = run
        self._store = store
        self._metrics = metrics
        self._budget = Budget(run.config.budget, stored.calls, stored.tokens)
        self._prompts = CallPrompts(run)

    async def ask_all(self, situation: Situation) -> None:
        """Ask until the method has nothing left to ask or the budget is spent.

        Raises:
            Overloaded: If the judge's queue is too long; nothing is spent then.
            BudgetExhausted: If the budget does not suffice for any ranking.
            ContextExceeded: If the group does not fit the context, however often it is trimmed.
            JudgeError: If a call fails.
        """
        plan = await self._plan(situation)
        if plan:
            await self._run.judge.admit(self._run.request_context, len(plan))
        try:
            while plan and await self._ask(plan) is RoundOutcome.ANSWERED:
                plan = await self._plan(situation)
            orders = [verdict.order for verdict in self.verdicts.values()]
            if not links_all(situation.num_items, orders):
                raise BudgetExhausted(
                    f"{self._run.config.budget} was spent on replies that were no verdicts: raise "
                    "it, or read the judge's replies by `podium replay`"
                )
        except PodiumError:
            await self._store.flush()  # so that a retry finds every verdict that was paid for
            raise

    async def _plan(self, situation: Situation) -> Plan:
        """Return the method's next questions; raise if the budget holds too few for a ranking."""
        run = self._run
        calls_left = self._budget.calls_left(await self._prompts.worst_tokens(situation))
        situation = situation.with_verdicts(self.verdicts, calls_left)
        run.require_calls(situation, calls_left)
        return run.plan(situation)

    async def _ask(self, plan: Plan) -> RoundOutcome:
        """Ask all questions of a plan at once, and again from shorter texts if one is too long."""
        while missing := {i: order for i, order in plan.items() if i not in self.verdicts}:
            try:
                outcomes = await run_at_once([self._begin(*each) for each in missing.items()])
                is_spent = RoundOutcome.BUDGET_SPENT in outcomes
                return RoundOutcome.BUDGET_SPENT if is_spent else RoundOutcome.ANSWERED
            except ContextOverflow as overflow:
                self._prompts.shrink(overflow)
        return RoundOutcome.ANSWERED

    def _begin(
        self, index: int, order: list[int]
    ) -> tuple[RequestContext, Coroutine[Any, Any, RoundOutcome]]:
        context = replace(self._run.request_context)
        return context, self._ask_one(index, order, context)

    async def _ask_one(
        self, index: int, order: list[int], request_context: RequestContext
    ) -> RoundOutcome:
        """Get the verdict of one question, twice if the first misplaces the canary."""
        try:
            try:
                await self._call(index, order, request_context)
            except VerdictVoid:
                await self._call(index, order, request_context)
        except BudgetExhausted:
            return RoundOutcome.BUDGET_SPENT
        return RoundOutcome.ANSWERED

    async def _call(self, index: int, order: list[int], request_context: RequestContext) -> None:
        """Ask the judge, unless another group has the answer already."""
        key = self._run.question_key(index, order)
        if key is None:
            await self._ask_judge(index, order, None, request_context)
            return
        async with self._store.claim_question(key) as verdict:
            if verdict is None:
                await self._ask_judge(index, order, key, request_context)
            else:
                self._reuse(index, replace(verdict, order=order))

    async def _ask_judge(
        self, index: int, order: list[int], key: str | None, request_context: RequestContext
    ) -> None:
        prompt, reply_tokens = await self._prompts.build(order)
        self.verdicts[index] = await self._run.judge.ask(
            prompt,
            reply_tokens,
            lambda call: self._record(index, call, key),
            self._budget,
            request_context,
        )

    def _reuse(self, index: int, verdict: Verdict) -> None:
        """Store a verdict from another group with this one, which paid nothing for it."""
        run = self._run
        prompt = Prompt(run.method.form, [], verdict.ids, verdict.order)
        reply = Reply(_ANSWERED_BEFORE, None, None, Tokens(), run.config.model)
        call = Call(prompt, reply, verdict, None, latency_s=0.0)
        self._store.add_call(run.content_key, index, run.judge_name, call, Usage())
        self.verdicts[index] = verdict

    def _record(self, index: int, call: Call, key: str | None) -> None:
        """Count and store a call, because it is paid for even if its reply is no verdict.

        A verdict is also stored under the key by which other groups find it.
        """
        run = self._run
        tokens, price = call.reply.tokens, run.config.price
        counts = tokens.prompt, tokens.cached, tokens.completion
        usage = Usage(
            calls=1,
            prompt_tokens=tokens.prompt,
            cached_tokens=tokens.cached,
            completion_tokens=tokens.completion,
            cost_usd=price.cost_usd(*counts) if price else None,
        )
        _add(run.request_context.usage, usage)
        self._metrics.count_usage(run.judge_name, run.request_context.api_key_name, usage)
        if call.fault:
            self._metrics.count_fault(run.judge_name)
        payer = run.request_context.payer
        self._store.add_call(run.content_key, index, run.judge_name, call, usage, payer)
        if key and call.verdict:
            self._store.add_answer(key, run.judge_name, call)


def _add(total: Usage, usage: Usage) -> None:
    for name, value in usage:
        if value is not None:
            setattr(total, name, (getattr(total, name) or 0) + value)
