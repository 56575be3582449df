"""Have several judges rank the same groups, and measure how far their rewards agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from podium_service.evaluation import card
from podium_service.evaluation.calibrate import require_one_ranked
from podium_service.evaluation.run_judge import GroupOutcome, JudgeRunner
from podium_service.schemas import Ranking, RankRequest
from podium_service.scoring.agreement import kendall_tau_b
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
    runner: JudgeRunner,
    judges: Sequence[str],
    requests: Sequence[RankRequest],
    left_out: dict[str, int],
) -> Comparison:
    """Rank one or more groups with each of several judges, and compare the rewards.

    Raises:
        UnknownJudge: If there is no such judge; before any call is paid.
        PodiumError: A judge's first error, if it could rank no group.
    """
    for judge in judges:
        runner.judges.roster.chain(judge)
    outcomes: dict[str, list[GroupOutcome]] = {}
    for judge in judges:
        outcomes[judge] = await runner.rank_all(judge, requests)
        require_one_ranked(judge, outcomes[judge])
    bootstrap = Bootstrap(len(requests))
    return Comparison(
        groups=len(requests),
        judges=[_summarise_judge(*each, bootstrap) for each in outcomes.items()],
        pairs=[_summarise_pair(*pair, outcomes, bootstrap) for pair in combinations(judges, 2)],
        left_out=left_out,
    )


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
    one_sided = sum((a == 0) != (b == 0) for a, b in signs)
    return sum(a * b < 0 for a, b in signs), one_sided, len(signs)


def _summarise_judge(
    judge: str, outcomes: Sequence[GroupOutcome], bootstrap: Bootstrap
) -> JudgeSummary:
    rankings = [outcome.ranking for outcome in outcomes if outcome.ranking]
    return JudgeSummary(
        judge=judge,
        groups=len(outcomes),
        ranked=len(rankings),
        stored=sum(ranking.cached for ranking in rankings),
        failures=card.count_failures(outcomes),
        reliability=card.measure_reliability(outcomes, bootstrap),
        measures=card.measure_calls(outcomes, bootstrap) | card.measure_spend(outcomes, bootstrap),
    )


def _summarise_pair(
    first: str, second: str, outcomes: Mapping[str, Sequence[GroupOutcome]], bootstrap: Bootstrap
) -> PairSummary:
    pairs = [
        (a.ranking, b.ranking) if a.ranking and b.ranking else None
        for a, b in zip(outcomes[first], outcomes[second], strict=True)
    ]
    taus = [kendall_tau_b(*map(_rewards, pair)) if pair else None for pair in pairs]
    tops = [top1_agreement(*pair) if pair else None for pair in pairs]
    counts = [count_sign_changes(*pair) if pair else None for pair in pairs]
    opposite = [(each[0], each[2]) if each else None for each in counts]
    one_sided = [(each[1], each[2]) if each else None for each in counts]
    changes = [_list_sign_changes(i, *pair) for i, pair in enumerate(pairs) if pair]
    return PairSummary(
        first=first,
        second=second,
        groups=sum(pair is not None for pair in pairs),
        tau=bootstrap.mean(taus, f"{_NONE_RANKED_BY_BOTH} and not tied by both"),
        top1=bootstrap.mean(tops, _NONE_RANKED_BY_BOTH),
        opposite=bootstrap.ratio(opposite, _NONE_RANKED_BY_BOTH),
        one_sided=bootstrap.ratio(one_sided, _NONE_RANKED_BY_BOTH),
        changes=list(chain.from_iterable(changes)),
    )


def _list_sign_changes(group: int, first: Ranking, second: Ranking) -> list[SignChange]:
    results = zip(first.results, second.results, strict=True)
    signs = zip(_advantage_signs(first), _advantage_signs(second), strict=True)
    return [
        SignChange(group, first.group_id, a.id, a.reward, b.reward)
        for (a, b), (sign_a, sign_b) in zip(results, signs, strict=True)
        if sign_a * sign_b < 0
    ]


def _rewards(ranking: Ranking) -> list[float]:
    return [result.reward for result in ranking.results]


def _advantage_signs(ranking: Ranking) -> list[int]:
    rewards = _rewards(ranking)
    mean = sum(rewards) / len(rewards)
    return [0 if abs(r - mean) < _ROUNDING else 1 if r > mean else -1 for r in rewards]
