"""The calls about one group: each within the budget, fitted to the context, kept as it is answered.

A call that overflows the context has the whole round asked again from shorter texts. A verdict that
misplaces the canary is void and asked for once more.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from podium_service.errors import BudgetExhausted, ContextExceeded, VerdictVoid
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.endpoint import ContextOverflow
from podium_service.judges.group_budget import Budget
from podium_service.judges.llm_judge import Judge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts import templates
from podium_service.prompts.call import Call
from podium_service.prompts.defences.canary import planted_body
from podium_service.prompts.reply import Tokens
from podium_service.prompts.templates import Prompt
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.trim import estimate_tokens, fit
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.methods import METHODS, Method, Plan, Situation
from podium_service.ranking.methods.designs import links_all
from podium_service.schemas import Usage
from podium_service.store.store import Store
from podium_service.telemetry.metrics import Metrics
from podium_service.tracebacks import drop_locals_on_error

TOKENS_PER_FENCE = 64
_SHRINK = (1.0, 0.75, 0.5)

Verdicts = dict[int, Verdict]


@dataclass(frozen=True, slots=True)
class Question:
    """All that stays the same while one group is asked about."""

    name: str
    judge: Judge
    method_name: str
    key: str
    judge_key: str
    system: str
    marked: bool
    transcript: Transcript
    request_context: RequestContext

    @property
    def method(self) -> Method:
        return METHODS[self.method_name]

    @property
    def config(self) -> LLMJudge:
        return self.judge.config


class Rounds:
    """The calls for one group: its budget, its place in the context, its verdicts as they come."""

    def __init__(
        self,
        question: Question,
        verdicts: Verdicts,
        budget: Budget,
        store: Store,
        metrics: Metrics,
    ) -> None:
        self._question = question
        self._verdicts = verdicts
        self._store = store
        self._metrics = metrics
        self._budget = budget
        self._shrink = iter(_SHRINK)
        self._share = next(self._shrink)
        self._fitted: dict[tuple[int, ...], Transcript] = {}

    async def calls_left(self, situation: Situation) -> float:
        """How many calls the budget still holds.

        Raises:
            BudgetExhausted: If those are too few for any ranking.
        """
        left = self._budget.calls_left(await self._worst_tokens(situation))
        needed = self._question.method.min_calls(situation) - len(self._verdicts)
        if left < needed:
            raise BudgetExhausted(
                f"{self._question.config.budget} holds {left:g} calls, and {needed} are needed to "
                f"rank {situation.num_items} trajectories: raise it, or choose another method"
            )
        return left

    async def let_in(self, plan: Plan) -> None:
        """Have the judge let in the calls that are asked first.

        Raises:
            Overloaded: If too many wait; nothing is spent yet.
        """
        num_calls = len(self._missing(plan))
        await self._question.judge.admit(self._question.request_context, num_calls)

    async def ask(self, plan: Plan) -> bool:
        """Ask all questions at once; whether the budget held all of them.

        Raises:
            JudgeError: The first failure; the other calls are cancelled.
            ContextExceeded: If not even trimmed to half do they fit.
        """
        while True:
            try:
                held = await _all_or_cancel(
                    [self._ask(index, order) for index, order in self._missing(plan).items()]
                )
            except ContextOverflow as overflow:
                self._fitted.clear()
                share = next(self._shrink, None)
                if share is None:
                    raise ContextExceeded(
                        f"even trimmed to half the group is too long: {overflow}"
                    ) from overflow
                self._share = share
            else:
                return all(held) or self.require_enough()

    def require_enough(self) -> bool:
        """False: there is no more to ask, but what is there makes a ranking.

        Raises:
            BudgetExhausted: If it does not.
        """
        orders = [verdict.order for verdict in self._verdicts.values()]
        bodies = len(self._question.transcript.bodies)
        if not links_all(bodies, orders):
            raise BudgetExhausted(
                f"{self._question.config.budget} was spent on replies that were no verdicts: raise "
                "it, or look at `podium replay` for what the judge says"
            )
        return False

    def _missing(self, plan: Plan) -> Plan:
        return {index: order for index, order in plan.items() if index not in self._verdicts}

    async def _ask(self, index: int, order: list[int]) -> bool:
        """Get one verdict; False if the budget does not hold the call."""
        question = self._question
        context = await question.judge.context_tokens()
        shown = len(order) + self._planted
        reply_tokens = question.judge.reply_tokens(question.method.form, shown, context)

        def keep(call: Call) -> None:
            spent = _usage(question.config, call.reply.tokens)
            _add(question.request_context.usage, spent)
            self._metrics.count_usage(question.name, spent)
            if call.fault:
                self._metrics.count_fault(question.name)
            self._store.add_call(question.key, index, question.name, call, spent)

        for attempt in range(2):
            prompt = self._prompt(order, context, reply_tokens)
            try:
                self._verdicts[index] = await question.judge.ask(
                    prompt, reply_tokens, keep, self._budget, question.request_context
                )
            except BudgetExhausted:
                return False
            except VerdictVoid:
                if attempt:
                    raise
            else:
                return True
        raise AssertionError("unreachable")

    def _prompt(self, order: list[int], context: int, reply_tokens: int) -> Prompt:
        question = self._question
        shown = tuple(sorted(order))
        if shown not in self._fitted:
            fenced = len(order) + self._planted
            overhead = estimate_tokens(question.system) + TOKENS_PER_FENCE * (fenced + 1)
            room = int(self._share * (context - reply_tokens - overhead))
            self._fitted[shown] = fit(question.transcript, room, shown)
        fitted = self._fitted[shown]
        if question.method.form == "choice":
            return templates.choice_prompt(question.system, fitted, order)
        if question.method.form == "rating":
            return templates.rating_prompt(question.system, fitted, order)
        canary = None
        if question.config.canary:
            canary = planted_body(
                actions_first=question.config.view == "actions_first",
                datamarked=question.marked,
            )
        return templates.scores_prompt(question.system, fitted, order, canary)

    @property
    def _planted(self) -> int:
        """Trajectories shown beside the group's own."""
        return int(self._question.config.canary and self._question.method.form == "scores")

    async def _worst_tokens(self, situation: Situation) -> int:
        """No call for this group takes more tokens; 1 where nobody counts them."""
        question = self._question
        if question.config.budget is None or question.config.budget.tokens is None:
            return 1
        context = await question.judge.context_tokens()
        shown = question.method.shown(situation)
        fenced = shown + self._planted
        reply = question.judge.reply_tokens(question.method.form, fenced, context)
        bodies = sorted(map(estimate_tokens, question.transcript.bodies), reverse=True)[:shown]
        texts = estimate_tokens(question.system) + estimate_tokens(question.transcript.context)
        return min(context, texts + sum(bodies) + TOKENS_PER_FENCE * (fenced + 2) + reply)


@drop_locals_on_error
async def _all_or_cancel(coroutines: Sequence[Coroutine[Any, Any, bool]]) -> list[bool]:
    """Run all at once; the first failure cancels the rest and is raised as it is."""
    if len(coroutines) == 1:  # as most often: it needs no task of its own
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _usage(config: LLMJudge, tokens: Tokens) -> Usage:
    price = config.price
    cost = price.cost_usd(tokens.prompt, tokens.cached, tokens.completion) if price else None
    return Usage(
        calls=1,
        prompt_tokens=tokens.prompt,
        cached_tokens=tokens.cached,
        completion_tokens=tokens.completion,
        cost_usd=cost,
    )


def _add(usage: Usage, spent: Usage) -> None:
    usage.calls += spent.calls
    usage.prompt_tokens += spent.prompt_tokens
    usage.cached_tokens += spent.cached_tokens
    usage.completion_tokens += spent.completion_tokens
    if spent.cost_usd is not None:
        usage.cost_usd = (usage.cost_usd or 0.0) + spent.cost_usd
