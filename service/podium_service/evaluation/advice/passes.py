"""Recommend how many passes to ask of a judge, by what producing a group of trajectories costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from podium_service.evaluation.measures import JudgedGroup
from podium_service.evaluation.run_judge import GroupOutcome
from podium_service.judges.limits import MAX_PASSES
from podium_service.judges.settings.llm import DEFAULT_PASSES
from podium_service.ranking.methods import best_of
from podium_service.ranking.methods.designs import links_all
from podium_service.scoring.least_squares import Fit, fit_ratings, least_squares
from podium_service.scoring.noise import MIN_GROUPS, JudgeNoise, PastGroup, learn_noise
from podium_service.scoring.signal_ratio import mean_reliability, yield_of_passes

ROLLOUT_COSTS = (0.3, 1.0, 3.0, 10.0)
# Groups in between get more passes than the average; those that are clear early get fewer.
_MOST_OVER_AVERAGE, _MOST_AT_LEAST = 2, DEFAULT_PASSES["listwise"].max


@dataclass(frozen=True, slots=True)
class PassesAdvice:
    """The number of passes that yields most reliability per cost, from the method's least on."""

    rollout_cost: float  # of producing a group, in units of one pass
    passes: int
    reliability: float  # expected after so many passes, averaged over groups
    setting: str  # the line of the judges file that gives each group what pays for it


def advise_passes(
    outcomes: Sequence[GroupOutcome], groups: Sequence[JudgedGroup | None]
) -> tuple[list[PassesAdvice], str | None]:
    """Return the advice for each of `ROLLOUT_COSTS`, or none and the reason.

    What past groups told the judge's noise counts if it was learnt before; else these groups do.
    No more passes are recommended than the method shows the largest of these groups in.
    """
    fits = [each for group in groups if group and (each := _fit(group))]
    if not fits:
        return [], "no group was ranked by passes of one LLM"
    noise = _learnt_noise(outcomes) or _learn_from(fits)
    if noise is None:
        return [], f"fewer than {MIN_GROUPS} groups with two passes have told the judge's noise"
    information = fmean(fit.information / num_passes for fit, num_passes, _ in fits)
    least, bound = _least_and_most_passes(outcomes, groups)
    advice = []
    for cost in ROLLOUT_COSTS:
        yields = yield_of_passes(noise.ratios_R, information, cost)[least - 1 : bound]
        passes = least + int(yields.argmax())
        reliability = mean_reliability(noise.ratios_R, information * passes)
        most = min(bound, max(_MOST_AT_LEAST, _MOST_OVER_AVERAGE * passes))
        setting = f"passes: {{min: {least}, max: {most}, rollout_cost: {cost:g}}}"
        advice.append(PassesAdvice(cost, passes, reliability, setting))
    return advice, None


def _least_and_most_passes(
    outcomes: Sequence[GroupOutcome], groups: Sequence[JudgedGroup | None]
) -> tuple[int, int]:
    """Return the passes each group gets by default under the methods used, and the most it may."""
    methods = {outcome.ranking.method for outcome in outcomes if outcome.ranking}
    most = MAX_PASSES
    if methods == {"best_of"}:
        most = best_of.most_passes(max(group.num_shown for group in groups if group))
    least = max((DEFAULT_PASSES[each].min for each in methods & DEFAULT_PASSES.keys()), default=1)
    return min(least, most), most


def _fit(group: JudgedGroup) -> tuple[Fit, float, int] | None:
    """Return the fit of the group's passes, their number and the items in a call."""
    passes, num_items = group.passes, group.num_shown
    orders = [each.order for each in passes]
    is_linked = bool(passes) and num_items > 1 and links_all(num_items, orders)
    if not is_linked or len({each.source for each in passes}) > 1:
        return None
    num_passes, length = sum(map(len, orders)) / num_items, max(map(len, orders))
    if length == 1:
        ratings: list[list[float]] = [[] for _ in range(num_items)]
        for each in passes:
            ratings[each.order[0]].append(each.scores[0])
        return fit_ratings(ratings), num_passes, length
    fit = least_squares(num_items, [(each.order, each.scores) for each in passes], None)
    return fit, num_passes, length


def _learnt_noise(outcomes: Sequence[GroupOutcome]) -> JudgeNoise | None:
    """Return the noise that rests on most past groups; None if no ranking knew it."""
    stated = [outcome.ranking.noise for outcome in outcomes if outcome.ranking]
    learnt = [noise for noise in stated if noise and noise.groups]
    if not learnt:
        return None
    return JudgeNoise.from_json(max(learnt, key=lambda noise: noise.groups).model_dump())


def _learn_from(fits: Sequence[tuple[Fit, float, int]]) -> JudgeNoise | None:
    past_groups = [PastGroup.from_fit(fit, length) for fit, _, length in fits]
    lengths = sorted(length for _, _, length in fits)
    return learn_noise(past_groups, lengths[len(lengths) // 2])
