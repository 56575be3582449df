"""Estimate the tokens and the cost of ranking groups, before any call is made.

The prompts are those of the ranking itself. What is not known before is between two bounds: the
passes between the judge's `passes.min` and `passes.max`, and a reply between a bare verdict and the
cap on its tokens. Nothing is taken for answered by the store or cached by the endpoint, no call is
taken to fail, and the lower bound does without the second passes of `audit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import estimate_call_tokens
from podium_service.judges.judges_file import AnyJudge
from podium_service.judges.limits import Price
from podium_service.judges.registry import Roster
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.judges.settings.prices import find_price
from podium_service.prompts.forms import FORMS
from podium_service.ranking.group_scores import GroupToRank
from podium_service.ranking.kinds.llm_ranking import prepare_run
from podium_service.ranking.kinds.run import CallPrompts, Run
from podium_service.ranking.methods import Situation
from podium_service.ranking.screening import require_inputs, screen
from podium_service.schemas import RankRequest

# A bare verdict takes about this share of the tokens that `FORMS` allows for a trajectory.
_BARE_SHARE = 8


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
) -> CostRange:
    """Estimate the ranking of one group by one judge, without its fallbacks.

    Args:
        roster: the judges.
        judge_name: one of them.
        request: the group.
        context: its `runs` tell the content keys then.

    Raises:
        UnknownJudge: If there is no such judge.
        RequestError: If the group lacks an input or does not fit the judge's context.
    """
    [name, *_] = roster.chain(judge_name)
    judge = roster.config.judges[name]
    require_inputs(name, judge, request)
    if isinstance(judge, ChecksJudge):
        return CostRange()
    screening = screen(judge, request)
    context = context or RequestContext()
    names = judge.members if isinstance(judge, JuryJudge) else [name]
    ranges = []
    for each in names:
        config = roster.llms[each].config
        group = GroupToRank(request, screening, each, config, roster.llms)
        run, situation = await prepare_run(group, context)
        ranges.append(await _estimate_run(run, situation))
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


async def _estimate_run(run: Run, situation: Situation) -> CostRange:
    if situation.num_items < 2:  # nothing is asked about equals
        return CostRange()
    passes = run.config.passes_for(run.method_name)
    prompts, limits = CallPrompts(run), []
    for times in (passes.min, max(passes.max, situation.passes.max)):
        fixed = situation.passes.model_copy(update={"min": times, "max": times})
        of_times = replace(situation, passes=fixed)
        plan = run.method.plan(of_times)
        limits.append([await _read_call(run, prompts, order) for order in plan.values()])
    price = price_of(run.config)
    (least, most), budget = limits, run.config.budget
    if budget and budget.calls:
        most = most[: budget.calls]
    return CostRange(
        _sum([(prompt, bare) for prompt, bare, _ in least], price),
        _sum([(prompt, cap) for prompt, _, cap in most], price),
    )


async def _read_call(run: Run, prompts: CallPrompts, order: list[int]) -> tuple[int, int, int]:
    """Return the tokens of a call's prompt, of a bare verdict, and the cap on its reply."""
    prompt, cap = await prompts.build(order)
    bare = max(1, FORMS[prompt.form].tokens // _BARE_SHARE) * len(prompt.shown_ids)
    return estimate_call_tokens(prompt, 0), min(bare, cap), cap


def _sum(calls: Sequence[tuple[int, int]], price: Price | None) -> Cost:
    prompt, completion = (sum(tokens) for tokens in zip(*calls, strict=True))
    usd = price.cost_usd(prompt, 0, completion) if price else None
    return Cost(len(calls), prompt, completion, usd)
