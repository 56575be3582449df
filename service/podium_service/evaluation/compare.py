"""The same groups, ranked by several judges -> how far they agree, and what each one costs.

All measures of agreement are between the rewards that the service would return.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import orjson
import sqlalchemy as sa

from podium_service.errors import InvalidRequest, StoreUnavailable
from podium_service.evaluation.calibrate import require_one_ranked
from podium_service.evaluation.card import call_measures, failures, reliability, spend
from podium_service.evaluation.measures import kendall_tau_b
from podium_service.evaluation.rebuild import CannotRebuild, rebuild, shown
from podium_service.evaluation.run_judge import Asked, ask_all
from podium_service.http.service import Service
from podium_service.schemas import Ranking, RankRequest
from podium_service.scoring.bootstrap import Bootstrap, Measure
from podium_service.store.database.database import open_engine
from podium_service.store.database.tables import RANKINGS

_SAME = 1e-9  # a reward this near to the group's mean is at it
_NOTHING_IN_COMMON = "no group was ranked by both"
_SCAN = 20  # rankings read per group wanted: several may be of one group


@dataclass(frozen=True, slots=True)
class JudgeSummary:
    """One judge on all groups; measures as on its card."""

    judge: str
    groups: int
    ranked: int
    stored: int
    failures: dict[str, int]
    reliability: Measure
    measures: dict[str, Measure]


@dataclass(frozen=True, slots=True)
class SignChange:
    """A trajectory that one judge rewards above its group's mean, and the other below."""

    group: int
    group_id: str | None
    trajectory: str
    first_reward: float
    second_reward: float


@dataclass(frozen=True, slots=True)
class PairSummary:
    """Two judges on the groups that both ranked.

    Attributes:
        tau: Kendall's tau_b of the rewards, mean over groups; 0 where one judge ties all, left out
            where both do.
        top1: chance that a best one of either judge, drawn at random, is a best one of the other.
        opposite: share of trajectories whose reward minus the group's mean has the other sign.
        one_sided: share where it is zero for just one of the two.
        changes: the trajectories behind `opposite`.
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
    """What `podium compare` prints; `left_out` counts stored groups by why they were not asked."""

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
    """Have each judge rank all groups.

    Args:
        judges: two names or more, all different.
        requests: at least one.
        left_out: for the record.
        concurrency, deadline_s, advance: as `ask_all` takes them.

    Raises:
        UnknownJudge: If there is no such judge.
        PodiumError: A judge's first error, if it could rank no group.
    """
    roster = service.ranker.judges.roster
    for judge in judges:
        roster.chain(judge)  # before any call is paid
    asked: dict[str, list[Asked]] = {}
    for judge in judges:
        asked[judge] = await ask_all(
            service, judge, requests, concurrency=concurrency, deadline_s=deadline_s,
            advance=advance,
        )  # fmt: skip
        require_one_ranked(judge, asked[judge])
    bootstrap = Bootstrap(len(requests))
    return Comparison(
        groups=len(requests),
        judges=[_judge_summary(judge, some, bootstrap) for judge, some in asked.items()],
        pairs=[
            _pair_summary((first, asked[first]), (second, asked[second]), bootstrap)
            for first, second in combinations(judges, 2)
        ],
        left_out=left_out,
    )


async def stored_groups(
    service: Service, store_url: str, limit: int
) -> tuple[list[RankRequest], dict[str, int]]:
    """The newest `limit` groups of the store that can be asked about again, and how many of the
    others could not be, by the reason.

    Raises:
        InvalidRequest: If there is none at all.
        StoreUnavailable: If the database does not answer.
    """
    llms = service.ranker.judges.roster.llms.values()
    rubrics = [None, *(judge.config.rubric for judge in llms)]
    requests: dict[bytes, RankRequest] = {}
    left_out: Counter[str] = Counter()
    for key, group_id in await asyncio.to_thread(_newest, store_url, _SCAN * limit):
        if len(requests) == limit:
            break
        try:
            request = rebuild(shown(await service.store.read_calls(key)), rubrics)
        except CannotRebuild as error:
            left_out[str(error)] += 1
            continue
        request.group_id = group_id
        content = request.model_dump_json(exclude={"group_id"}).encode()
        requests.setdefault(content, request)
    if not requests:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise InvalidRequest(
            f"{store_url}: no stored group can be asked about again"
            f"{f' ({why})' if why else ''}: give groups by --data FILE"
        )
    return list(requests.values()), dict(left_out)


def reward_tau(first: Ranking, second: Ranking) -> float | None:
    """Kendall's tau_b of two judges' rewards for one group."""
    return kendall_tau_b(_rewards(first), _rewards(second))


def top1_agreement(first: Ranking, second: Ranking) -> float:
    """Chance that a best one of either, drawn at random, is a best one of the other, too."""
    bests = [
        {i for i, reward in enumerate(rewards) if reward == max(rewards)}
        for rewards in (_rewards(first), _rewards(second))
    ]
    common = len(bests[0] & bests[1])
    return (common / len(bests[0]) + common / len(bests[1])) / 2


def sign_changes(first: Ranking, second: Ranking) -> tuple[int, int, int]:
    """Trajectories whose advantage (reward minus mean) has the opposite sign; those where it is
    zero for one only; all."""
    signs = list(zip(_advantage_signs(first), _advantage_signs(second), strict=True))
    opposite = sum(a * b < 0 for a, b in signs)
    return opposite, sum((a == 0) != (b == 0) for a, b in signs), len(signs)


def _newest(store_url: str, limit: int) -> list[tuple[str, str | None]]:
    """Content key and group id of the latest rankings, each key once."""
    query = (
        sa.select(RANKINGS.c.key, RANKINGS.c.request)
        .order_by(RANKINGS.c.created_at.desc())
        .limit(limit)
    )
    engine = open_engine(store_url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query).all()
    except sa.exc.SQLAlchemyError as error:
        raise StoreUnavailable(f"{store_url} cannot be read: {type(error).__name__}") from error
    finally:
        engine.dispose()
    ids = {}
    for row in reversed(rows):
        request = orjson.loads(row.request)
        ids[request.get("call_keys", [row.key])[0]] = request.get("group_id")  # one juror will do
    return list(reversed(ids.items()))


def _judge_summary(judge: str, asked: Sequence[Asked], bootstrap: Bootstrap) -> JudgeSummary:
    rankings = [each.ranking for each in asked if each.ranking]
    return JudgeSummary(
        judge=judge,
        groups=len(asked),
        ranked=len(rankings),
        stored=sum(ranking.cached for ranking in rankings),
        failures=failures(asked),
        reliability=reliability(asked, bootstrap),
        measures=call_measures(asked, bootstrap) | spend(asked, bootstrap),
    )


def _pair_summary(
    first: tuple[str, Sequence[Asked]], second: tuple[str, Sequence[Asked]], bootstrap: Bootstrap
) -> PairSummary:
    both = [
        (a.ranking, b.ranking) if a.ranking and b.ranking else None
        for a, b in zip(first[1], second[1], strict=True)
    ]
    changed = [sign_changes(*pair) if pair else None for pair in both]
    return PairSummary(
        first=first[0],
        second=second[0],
        groups=sum(pair is not None for pair in both),
        tau=bootstrap.mean(
            [reward_tau(*pair) if pair else None for pair in both],
            f"{_NOTHING_IN_COMMON} and not tied by both",
        ),
        top1=bootstrap.mean(
            [top1_agreement(*pair) if pair else None for pair in both], _NOTHING_IN_COMMON
        ),
        opposite=bootstrap.ratio(
            [(each[0], each[2]) if each else None for each in changed], _NOTHING_IN_COMMON
        ),
        one_sided=bootstrap.ratio(
            [(each[1], each[2]) if each else None for each in changed], _NOTHING_IN_COMMON
        ),
        changes=[
            change for group, pair in enumerate(both) if pair for change in _changes(group, *pair)
        ],
    )


def _changes(group: int, first: Ranking, second: Ranking) -> list[SignChange]:
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
    return [0 if abs(r - mean) < _SAME else 1 if r > mean else -1 for r in rewards]
