"""Have several judges rank the same groups, and measure how far their rewards agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from podium_service.evaluation.calibrate import require_one_ranked
from podium_service.evaluation.card import (
    count_failures,
    measure_calls,
    measure_reliability,
    measure_spend,
)
from podium_service.evaluation.measures import kendall_tau_b
from podium_service.evaluation.run_judge import GroupOutcome, rank_all
from podium_service.http.service import Service
from podium_service.schemas import Ranking, RankRequest
from podium_service.scoring.bootstrap import Bootstrap, Measure

_ROUNDING = 1e-9  # a reward this near to the group's mean counts as the mean
_NONE_RANKED_BY_BOTH = "no group was ranked by both"


@dataclass(frozen=True, slots=True)
class JudgeSummary:
    """One judge on all groups; the fields are those of its card."""

    judge: str
    groups: int
    ranked: int
    stored: int
    failures: dict[str, int]
    reliability: Measure
    measures: dict[str, Measure]


@dataclass(frozen=True, slots=True)
class SignChange:
    """A trajectory that one judge rewards above its group's mean, and the other judge below."""

    group: int
    group_id: str | None
    trajectory: str
    first_reward: float
    second_reward: float


@dataclass(frozen=True, slots=True)
class PairSummary:
    """Two judges on the groups that both ranked.

    Attributes:
        first, second: names of the judges.
        groups: number of groups that both ranked.
        tau: Kendall's tau_b of the rewards, mean over groups; 0 where one judge ties all, left out
            where both do.
        top1: chance that one of the best of either judge, drawn at random, is one of the best of
            the other judge.
        opposite: share of trajectories whose advantage (reward minus the group's mean) has the
            opposite sign.
        one_sided: share of trajectories whose advantage is zero for just one of the judges.
        changes: the trajectories that `opposite` counts.
    """

    first: str
    second: str
    groups: int
    tau: Measure
    top1: Measure
    opposite: Measure
    one_sided: Measure
    changes: list[SignChange]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All judges and all pairs of them; `left_out` counts the stored groups left out by reason."""

    groups: int
    judges: list[JudgeSummary]
    pairs: list[PairSummary]
    left_out: dict[str, int]


async def compare(
    service: Service,
    judges: Sequence[str],
    requests: Sequence[RankRequest],
    *,
    left_out: dict[str, int],
    concurrency: int,
    deadline_s: float,
    advance: Callable[[], None],
) -> Comparison:
    """Rank all groups with each judge, and compare the rewards.

    Args:
        service: the open service.
        judges: two names or more, all different.
        requests: the groups, at least one.
        left_out: number of stored groups left out, by reason, for the comparison.
        concurrency, deadline_s, advance: see `rank_all`.

    Raises:
        UnknownJudge: If there is no such judge; before any call is paid.
        PodiumError: A judge's first error, if it could rank no group.
    """
    roster = service.ranker.judges.roster
    for judge in judges:
        roster.chain(judge)
    outcomes: dict[str, list[GroupOutcome]] = {}
    for judge in judges:
        outcomes[judge] = await rank_all(
            service, judge, requests, concurrency=concurrency, deadline_s=deadline_s,
            advance=advance,
        )  # fmt: skip
        require_one_ranked(judge, outcomes[judge])
    bootstrap = Bootstrap(len(requests))
    return Comparison(
        groups=len(requests),
        judges=[_summarise_judge(judge, outcomes[judge], bootstrap) for judge in judges],
        pairs=[
            _summarise_pair(first, second, outcomes[first], outcomes[second], bootstrap)
            for first, second in combinations(judges, 2)
        ],
        left_out=left_out,
    )


def reward_tau(first: Ranking, second: Ranking) -> float | None:
    """Return Kendall's tau_b of two judges' rewards for one group."""
    return kendall_tau_b(_rewards(first), _rewards(second))


def top1_agreement(first: Ranking, second: Ranking) -> float:
    """Return the chance that one of the best of either judge is one of the best of the other."""
    bests = [
        {i for i, reward in enumerate(rewards) if reward == max(rewards)}
        for rewards in (_rewards(first), _rewards(second))
    ]
    common = len(bests[0] & bests[1])
    return (common / len(bests[0]) + common / len(bests[1])) / 2


def count_sign_changes(first: Ranking, second: Ranking) -> tuple[int, int, int]:
    """Count trajectories by the signs of their two advantages.

    Returns:
        The number with opposite signs, the number with just one zero, and the number of all.
    """
    signs = list(zip(_advantage_signs(first), _advantage_signs(second), strict=True))
    opposite = sum(a * b < 0 for a, b in signs)
    return opposite, sum((a == 0) != (b == 0) for a, b in signs), len(signs)


def _summarise_judge(
    judge: str, outcomes: Sequence[GroupOutcome], bootstrap: Bootstrap
) -> JudgeSummary:
    rankings = [outcome.ranking for outcome in outcomes if outcome.ranking]
    return JudgeSummary(
        judge=judge,
        groups=len(outcomes),
        ranked=len(rankings),
        stored=sum(ranking.cached for ranking in rankings),
        failures=count_failures(outcomes),
        reliability=measure_reliability(outcomes, bootstrap),
        measures=measure_calls(outcomes, bootstrap) | measure_spend(outcomes, bootstrap),
    )


def _summarise_pair(
    first: str,
    second: str,
    first_outcomes: Sequence[GroupOutcome],
    second_outcomes: Sequence[GroupOutcome],
    bootstrap: Bootstrap,
) -> PairSummary:
    pairs = [
        (a.ranking, b.ranking) if a.ranking and b.ranking else None
        for a, b in zip(first_outcomes, second_outcomes, strict=True)
    ]
    counts = [count_sign_changes(*pair) if pair else None for pair in pairs]
    return PairSummary(
        first=first,
        second=second,
        groups=sum(pair is not None for pair in pairs),
        tau=bootstrap.mean(
            [reward_tau(*pair) if pair else None for pair in pairs],
            f"{_NONE_RANKED_BY_BOTH} and not tied by both",
        ),
        top1=bootstrap.mean(
            [top1_agreement(*pair) if pair else None for pair in pairs], _NONE_RANKED_BY_BOTH
        ),
        opposite=bootstrap.ratio(
            [(each[0], each[2]) if each else None for each in counts], _NONE_RANKED_BY_BOTH
        ),
        one_sided=bootstrap.ratio(
            [(each[1], each[2]) if each else None for each in counts], _NONE_RANKED_BY_BOTH
        ),
        changes=[
            change
            for group, pair in enumerate(pairs)
            if pair
            for change in _list_sign_changes(group, *pair)
        ],
    )


def _list_sign_changes(group: int, first: Ranking, second: Ranking) -> list[SignChange]:
    signs = zip(_advantage_signs(first), _advantage_signs(second), strict=True)
    results = zip(first.results, second.results, signs, strict=True)
    return [
        SignChange(group, first.group_id, a.id, a.reward, b.reward)
        for a, b, (sign_a, sign_b) in results
        if sign_a * sign_b < 0
    ]


def _rewards(ranking: Ranking) -> list[float]:
    return [result.reward for result in ranking.results]


def _advantage_signs(ranking: Ranking) -> list[int]:
    rewards = _rewards(ranking)
    mean = sum(rewards) / len(rewards)
    return [0 if abs(r - mean) < _ROUNDING else 1 if r > mean else -1 for r in rewards]
