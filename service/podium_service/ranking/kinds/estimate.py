"""Estimate the tokens and the cost of ranking groups, before any call is made.

The prompts are those of the ranking itself. What is not known before is between two bounds: the
passes between the judge's `passes.min` and `passes.max`, as far as its `budget` holds them, a
prompt between the counts of a coarse and of a fine tokenizer, and a reply between a bare verdict
and the cap on its tokens. Nothing is taken for answered by the store or cached by the endpoint, no
call is taken to fail, and the lower bound does without the second passes of `audit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import inf

from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import Budget, estimate_call_tokens
from podium_service.judges.judges_file import AnyJudge
from podium_service.judges.limits import Price
from podium_service.judges.registry import Roster
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.judges.settings.prices import find_price
from podium_service.prompts.forms import FORMS
from podium_service.prompts.templates import Prompt
from podium_service.ranking.group_scores import GroupToRank
from podium_service.ranking.kinds.llm_ranking import prepare_run
from podium_service.ranking.kinds.run import CallPrompts, Run
from podium_service.ranking.methods import Situation
from podium_service.ranking.screening import require_inputs, screen
from podium_service.schemas import RankRequest

# A bare verdict takes about this share of the tokens that `FORMS` allows for a trajectory.
_BARE_SHARE = 8
# Large vocabularies take about 4.5 bytes of prose for a token, and small images count for little.
_MOST_BYTES, _IMAGE_SHARE = 5, 20


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of calls: `usd` is None where a price is not known."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        known = self.usd is not None and other.usd is not None
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            (self.usd or 0.0) + (other.usd or 0.0) if known else None,
        )


@dataclass(frozen=True, slots=True)
class CostRange:
    """The least and the most that the ranking of a group takes."""

    least: Cost = Cost()
    most: Cost = Cost()

    def __add__(self, other: "CostRange") -> "CostRange":
        return CostRange(self.least + other.least, self.most + other.most)


async def estimate_group(
    roster: Roster,
    judge_name: str,
    request: RankRequest,
    context: RequestContext | None = None,
    asked: set[str] | None = None,
) -> CostRange:
    """Estimate the ranking of one group by one judge, without its fallbacks.

    Args:
        roster: the judges.
        judge_name: one of them.
        request: the group.
        context: its `runs` tell the content keys then.
        asked: keys of what was estimated before, which is asked and paid once; this group's are
            added.

    Raises:
        UnknownJudge: If there is no such judge.
        RequestError: If the group lacks an input or does not fit the judge's context.
        BudgetExhausted: If the judge's budget holds too few calls for a ranking.
    """
    [name, *_] = roster.chain(judge_name)
    judge = roster.config.judges[name]
    require_inputs(name, judge, request)
    if isinstance(judge, ChecksJudge):
        return CostRange()
    screening = screen(judge, request)
    context = context or RequestContext()
    names = judge.members if isinstance(judge, JuryJudge) else [name]
    ranges, asked = [], set() if asked is None else asked
    for each in names:
        config = roster.llms[each].config
        group = GroupToRank(request, screening, each, config, roster.llms)
        run, situation = await prepare_run(group, context)
        ranges.append(await _estimate_run(run, situation, asked))
    return reduce(CostRange.__add__, ranges)


def price_of(judge: LLMJudge) -> Price | None:
    """Return the judge's price: the one in its settings, else the known one of its model."""
    known = find_price(judge.model)
    return judge.price or (known.price if known else None)


def price_note(name: str, judges: Mapping[str, AnyJudge]) -> str:
    """Say where a judge's price comes from; "" for a price of its own, or without an LLM."""
    judge = judges[name]
    if isinstance(judge, JuryJudge):
        return "; ".join(note for each in judge.members if (note := price_note(each, judges)))
    if not isinstance(judge, LLMJudge) or judge.price:
        return ""
    if known := find_price(judge.model):
        return f"{name}: price of {judge.model} as of {known.checked}, check it"
    return f"{name}: the price of {judge.model} is not known: set price in the judges file"


@dataclass(frozen=True, slots=True)
class _CallTokens:
    """The tokens of one call: its prompt, and its reply from a bare verdict to its cap."""

    least_prompt: int
    prompt: int
    bare: int
    cap: int


async def _estimate_run(run: Run, situation: Situation, asked: set[str]) -> CostRange:
    # Nothing is asked about equals, or about what an earlier group has asked.
    if situation.num_items < 2 or run.content_key in asked:
        return CostRange()
    passes, prompts, limits = run.config.passes_for(run.method_name), CallPrompts(run), []
    calls_left = Budget(run.config.budget).calls_left(await prompts.worst_tokens(situation))
    run.require_calls(situation, calls_left)
    # Calls that take less than the worst case leave tokens for more calls than fit at first.
    most_calls = (run.config.budget and run.config.budget.calls) or inf
    bounds = (passes.min, calls_left), (max(passes.max, situation.passes.max), most_calls)
    for times, max_calls in bounds:
        fixed = situation.passes.model_copy(update={"min": times, "max": times})
        plan = run.method.plan(replace(situation, passes=fixed, calls_left=max_calls))
        new = [each for each in plan.items() if run.question_key(*each) not in asked]
        limits.append([await _read_call(prompts, order) for _, order in new])
        known = {run.content_key, *(run.question_key(*each) or "" for each in plan.items())}
    asked |= known
    (least, most), price = limits, price_of(run.config)
    return CostRange(
        _sum([(each.least_prompt, each.bare) for each in least], price),
        _sum([(each.prompt, each.cap) for each in most], price),
    )


async def _read_call(prompts: CallPrompts, order: list[int]) -> _CallTokens:
    prompt, cap = await prompts.build(order)
    bare = max(1, FORMS[prompt.form].tokens // _BARE_SHARE) * len(prompt.shown_ids)
    most = estimate_call_tokens(prompt, 0)
    return _CallTokens(min(most, _least_tokens(prompt)), most, min(bare, cap), cap)


def _least_tokens(prompt: Prompt) -> int:
    """Return the tokens of a prompt by a tokenizer with a large vocabulary."""
    parts = [part for _, parts in prompt.messages for part in parts]
    return sum(
        len(part.encode()) // _MOST_BYTES if isinstance(part, str) else part.tokens // _IMAGE_SHARE
        for part in parts
    )


def _sum(calls: Sequence[tuple[int, int]], price: Price | None) -> Cost:
    prompt, completion = sum(each for each, _ in calls), sum(each for _, each in calls)
    usd = price.cost_usd(prompt, 0, completion) if price else None
    return Cost(len(calls), prompt, completion, usd)
