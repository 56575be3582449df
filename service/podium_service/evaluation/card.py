"""Collect every measure of one judge in a card: plain data for JSON and for the HTML page."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from podium_service import __version__
from podium_service.evaluation import bias, measures
from podium_service.evaluation.advice.passes import PassesAdvice, advise_passes
from podium_service.evaluation.advice.prompts import PromptTrial, choose_prompt
from podium_service.evaluation.bias import LengthBin, SlotEffect
from podium_service.evaluation.measures import JudgedGroup
from podium_service.evaluation.run_judge import CallSummary, GroupOutcome
from podium_service.judges.judges_file import AnyJudge
from podium_service.judges.settings.secrets import dump_without_secrets
from podium_service.prompts.wording import Style
from podium_service.scoring.agreement import Agreement
from podium_service.scoring.bootstrap import Bootstrap, Measure

Groups = Sequence[JudgedGroup | None]
Measures = dict[str, Measure]
T = TypeVar("T")

# A card omits the settings that do not change a verdict.
_OMITTED = {
    "api", "card", "base_urls", "azure", "api_key_env", "headers", "query", "ca_file", "fallback",
    "attempts", "concurrency", "timeout_s", "price",
}  # fmt: skip
_NO_TRUTH = "no group was ranked whose labels differ"
_NO_VALUES = f"{_NO_TRUTH} and whose passes link all its trajectories"
_NO_CALLS = "no LLM was called"

AGREEMENT_OF: dict[str, tuple[Callable[[JudgedGroup], Agreement | None], str]] = {
    "one_pass": (measures.one_pass_agreement, f"{_NO_TRUTH} within one pass of an LLM"),
    "all_passes": (measures.all_passes_agreement, _NO_VALUES),
    "reward": (measures.reward_agreement, _NO_TRUTH),
}
STEADINESS: dict[str, tuple[Callable[[JudgedGroup], float | None], str]] = {
    "order_flips": (measures.order_flips, "no pass was shown in reverse, too"),
    "retest_tau": (measures.retest_tau, "no group has two halves of passes that each cover it"),
    "ties": (measures.tie_rate, "no pass shows two trajectories"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """All measures of one judge on one file of labelled groups.

    Attributes:
        judge, model, method: as configured; `model` is None for a judge without one.
        settings: the other settings of the judge that can change a verdict.
        data: the name of the file of groups.
        created_at: the time in UTC, ISO 8601.
        version: of podium.
        groups, ranked, stored: number of groups, of those ranked, and of those that needed no new
            call.
        failures: number of groups that were not ranked, by error code.
        agreement: with the labels: accuracy, top1, auc and tau_b, each of one pass alone, of all
            passes together and of the reward returned.
        steadiness: order_flips, retest_tau, ties, and the mean reliability returned.
        passes, passes_reason: how many passes yield most at several costs of a rollout; without it,
            the reason.
        slots, slots_reason: the effect of the slot on a score; without it, the reason.
        length: correlation and slope of the score on log length, at equal labels.
        length_bins: the same relation as a curve.
        prompts: what each prompt found, if both were tried.
        best_prompt: the prompt that `prompt: auto` takes from this card; None if none was tried.
        calls: share of malformed replies, latency_p50_s and latency_p95_s.
        spend: per ranked group: calls, prompt_tokens, cached_tokens, completion_tokens, cost_usd.
    """

    judge: str
    model: str | None
    method: str
    settings: dict[str, object]
    data: str
    created_at: str
    version: str
    groups: int
    ranked: int
    stored: int
    failures: dict[str, int]
    agreement: dict[str, Measures]
    steadiness: Measures
    passes: list[PassesAdvice]
    passes_reason: str | None
    slots: list[SlotEffect]
    slots_reason: str | None
    length: Measures
    length_bins: list[LengthBin]
    prompts: list[PromptTrial]
    best_prompt: Style | None
    calls: Measures
    spend: Measures


def make_card(
    name: str,
    judge: AnyJudge,
    data: str,
    outcomes: Sequence[GroupOutcome],
    groups: Groups,
    trials: Sequence[PromptTrial] = (),
) -> Card:
    """Measure everything on one or more groups, each None where it was not ranked."""
    settings = dump_without_secrets(judge, exclude=_OMITTED)
    kind = settings.pop("kind")
    bootstrap = Bootstrap(len(groups))
    steadiness = {
        key: bootstrap.mean(_map_groups(groups, measure), reason)
        for key, (measure, reason) in STEADINESS.items()
    }
    slots, slots_reason = bias.slot_bias(groups, bootstrap)
    passes, passes_reason = advise_passes(outcomes, groups)
    correlation, slope = bias.length_bias(groups, bootstrap)
    rankings = [outcome.ranking for outcome in outcomes if outcome.ranking]
    return Card(
        judge=name,
        model=settings.pop("model", None),
        method=settings.pop("method", kind),
        settings={key: value for key, value in settings.items() if value not in ([], {})},
        data=data,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        groups=len(outcomes),
        ranked=len(rankings),
        stored=sum(ranking.cached for ranking in rankings),
        failures=count_failures(outcomes),
        agreement=_measure_agreement(groups, bootstrap),
        steadiness=steadiness | {"reliability": measure_reliability(outcomes, bootstrap)},
        passes=passes,
        passes_reason=passes_reason,
        slots=slots,
        slots_reason=slots_reason,
        length={"correlation": correlation, "slope": slope},
        length_bins=bias.length_bins(groups),
        prompts=list(trials),
        best_prompt=choose_prompt(trials),
        calls=measure_calls(outcomes, bootstrap),
        spend=measure_spend(outcomes, bootstrap),
    )


def count_failures(outcomes: Sequence[GroupOutcome]) -> dict[str, int]:
    """Count the groups that failed by error code, the commonest first."""
    codes = (outcome.failure.code for outcome in outcomes if outcome.failure)
    return dict(Counter(codes).most_common())


def measure_reliability(outcomes: Sequence[GroupOutcome], bootstrap: Bootstrap) -> Measure:
    """Average the reliability over the rankings that know it."""
    values = [outcome.ranking.reliability if outcome.ranking else None for outcome in outcomes]
    return bootstrap.mean(values, "no ranking knows its reliability")


def measure_calls(outcomes: Sequence[GroupOutcome], bootstrap: Bootstrap) -> Measures:
    """Measure all calls, those of failed groups included."""
    calls_of = [outcome.calls for outcome in outcomes]
    malformed = [
        (sum(call.is_malformed for call in calls), len(calls)) if calls else None
        for calls in calls_of
    ]
    latencies = [[call.latency_s for call in calls if call.usage.calls] for calls in calls_of]
    return {
        "malformed": bootstrap.ratio(malformed, _NO_CALLS),
        "latency_p50_s": bootstrap.quantile(latencies, 0.50, _NO_CALLS),
        "latency_p95_s": bootstrap.quantile(latencies, 0.95, _NO_CALLS),
    }


def measure_spend(outcomes: Sequence[GroupOutcome], bootstrap: Bootstrap) -> Measures:
    """Measure the calls, tokens and dollars of a ranked group, whenever they were paid."""
    calls_of = [outcome.calls if outcome.ranking else None for outcome in outcomes]
    counts = {
        name: bootstrap.mean(
            [
                None if calls is None else sum(getattr(c.usage, name) for c in calls)
                for calls in calls_of
            ],
            "no group was ranked",
        )
        for name in ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
    }
    costs = [None if calls is None else _sum_costs(calls) for calls in calls_of]
    return counts | {"cost_usd": bootstrap.mean(costs, "the judge has no price in its config")}


def _sum_costs(calls: Sequence[CallSummary]) -> float | None:
    """Return the dollars of all calls; None if there is no call or one has no price."""
    costs = [call.usage.cost_usd for call in calls]
    return None if None in costs or not costs else sum(filter(None, costs))


def _measure_agreement(groups: Groups, bootstrap: Bootstrap) -> dict[str, Measures]:
    agreements = {name: _map_groups(groups, measure) for name, (measure, _) in AGREEMENT_OF.items()}
    return {
        name: {
            of: bootstrap.mean([getattr(each, name, None) for each in values], AGREEMENT_OF[of][1])
            for of, values in agreements.items()
        }
        for name in ("accuracy", "top1", "auc", "tau_b")
    }


def _map_groups(groups: Groups, measure: Callable[[JudgedGroup], T | None]) -> list[T | None]:
    return [measure(group) if group else None for group in groups]
