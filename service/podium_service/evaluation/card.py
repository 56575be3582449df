"""Judged groups -> the card: every measure of one judge, as plain data for JSON and page."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from podium_service.evaluation import measures
from podium_service.evaluation.bias import (
    LengthBin,
    SlotEffect,
    length_bias,
    length_bins,
    slot_bias,
)
from podium_service.evaluation.measures import Agreement, JudgedGroup
from podium_service.evaluation.run_judge import Asked, Spent
from podium_service.scoring.bootstrap import Bootstrap, Measure

Groups = Sequence[JudgedGroup | None]
Values = dict[str, Measure]
T = TypeVar("T")

_NO_TRUTH = "no group was ranked whose labels differ"
_NO_PASS = f"{_NO_TRUTH} within one pass of an LLM"
_NO_VALUES = f"{_NO_TRUTH} and whose passes link all its trajectories"
_NO_REVERSE = "no pass was shown in reverse, too"
_NO_HALVES = "no group has two halves of passes that each cover it"
_NO_CALLS = "no LLM was called"

AGREEMENT_OF: dict[str, tuple[Callable[[JudgedGroup], Agreement | None], str]] = {
    "one_pass": (measures.one_pass_agreement, _NO_PASS),
    "all_passes": (measures.all_passes_agreement, _NO_VALUES),
    "reward": (measures.ranking_agreement, _NO_TRUTH),
}
STEADINESS: dict[str, tuple[Callable[[JudgedGroup], float | None], str]] = {
    "order_flips": (measures.order_flips, _NO_REVERSE),
    "retest_tau": (measures.retest_tau, _NO_HALVES),
    "ties": (measures.tie_rate, "no pass shows two trajectories"),
}


@dataclass(frozen=True, slots=True)
class Heading:
    """What a card says of the judge and the file, before any measure."""

    judge: str
    model: str | None
    method: str
    settings: dict[str, object]
    data: str
    created_at: str
    version: str


@dataclass(frozen=True, slots=True)
class Card(Heading):
    """One judge on one file of labelled groups.

    Attributes:
        judge, model, method: as configured; `model` is None for a judge without one.
        settings: the rest of its configuration that bears on verdicts.
        data: the file's name.
        groups, ranked, stored: how many there were, were ranked, and needed no new call.
        failures: groups that were not ranked, by the error's code.
        agreement: with the truth: accuracy, top1, auc and tau_b, each of one pass alone, of all
            passes together and of the reward returned.
        steadiness: order_flips, retest_tau, ties, and the mean reliability returned.
        slots, slots_reason: the slot's effect on a score; or why it is not known.
        length: correlation and slope of the score on log length, at equal truth.
        length_bins: the same as a curve.
        calls: malformed share, latency_p50_s and latency_p95_s.
        spend: per ranked group: calls, prompt_tokens, cached_tokens, completion_tokens, cost_usd.
    """

    groups: int
    ranked: int
    stored: int
    failures: dict[str, int]
    agreement: dict[str, Values]
    steadiness: Values
    slots: list[SlotEffect]
    slots_reason: str | None
    length: Values
    length_bins: list[LengthBin]
    calls: Values
    spend: Values


def make_card(heading: Heading, asked: Sequence[Asked], groups: Groups) -> Card:
    """Measure it all; `groups[i]` is None where `asked[i]` was not ranked. At least one group."""
    bootstrap = Bootstrap(len(groups))
    slots, slots_reason = slot_bias(groups, bootstrap)
    correlation, slope = length_bias(groups, bootstrap)
    rankings = [each.ranking for each in asked]
    return Card(
        **{each.name: getattr(heading, each.name) for each in fields(heading)},
        groups=len(asked),
        ranked=sum(ranking is not None for ranking in rankings),
        stored=sum(ranking is not None and ranking.cached for ranking in rankings),
        failures=failures(asked),
        agreement=_agreement(groups, bootstrap),
        steadiness={
            name: bootstrap.mean(_each(groups, measure), reason)
            for name, (measure, reason) in STEADINESS.items()
        }
        | {"reliability": reliability(asked, bootstrap)},
        slots=slots,
        slots_reason=slots_reason,
        length={"correlation": correlation, "slope": slope},
        length_bins=length_bins(groups),
        calls=call_measures(asked, bootstrap),
        spend=spend(asked, bootstrap),
    )


def failures(asked: Sequence[Asked]) -> dict[str, int]:
    """How many groups failed, by the error's code, the commonest first."""
    return dict(Counter(each.failure.code for each in asked if each.failure).most_common())


def reliability(asked: Sequence[Asked], bootstrap: Bootstrap) -> Measure:
    """The mean of what the rankings said; groups where it is not known are left out."""
    known = [each.ranking.reliability if each.ranking else None for each in asked]
    return bootstrap.mean(known, "no ranking knows its reliability")


def call_measures(asked: Sequence[Asked], bootstrap: Bootstrap) -> Values:
    """Of all calls paid, those of groups that failed in the end included."""
    faulty = [
        (float(sum(call.faulty for call in each.calls)), float(len(each.calls)))
        if each.calls
        else None
        for each in asked
    ]
    latencies = [[call.latency_s for call in each.calls] for each in asked]
    return {
        "malformed": bootstrap.ratio(faulty, _NO_CALLS),
        "latency_p50_s": bootstrap.quantile(latencies, 0.50, _NO_CALLS),
        "latency_p95_s": bootstrap.quantile(latencies, 0.95, _NO_CALLS),
    }


def spend(asked: Sequence[Asked], bootstrap: Bootstrap) -> Values:
    """What a ranked group cost when it was paid, today or earlier."""
    ranked = [each.calls if each.ranking else None for each in asked]
    costs = [_cost(calls) if calls is not None else None for calls in ranked]
    counted = {
        name: bootstrap.mean(
            [
                None if calls is None else float(sum(getattr(c.usage, name) for c in calls))
                for calls in ranked
            ],
            "no group was ranked",
        )
        for name in ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
    }
    return counted | {"cost_usd": bootstrap.mean(costs, "the judge has no price in its config")}


def _cost(calls: Sequence[Spent]) -> float | None:
    costs = [call.usage.cost_usd for call in calls]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


def _agreement(groups: Groups, bootstrap: Bootstrap) -> dict[str, Values]:
    found = {name: _each(groups, measure) for name, (measure, _) in AGREEMENT_OF.items()}
    return {
        name: {
            of: bootstrap.mean([getattr(each, name, None) for each in values], AGREEMENT_OF[of][1])
            for of, values in found.items()
        }
        for name in ("accuracy", "top1", "auc", "tau_b")
    }


def _each(groups: Groups, measure: Callable[[JudgedGroup], T | None]) -> list[T | None]:
    return [measure(judged) if judged else None for judged in groups]
