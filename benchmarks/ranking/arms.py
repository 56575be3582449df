"""Judges' settings and labelled groups -> what the service makes of them, in process over HTTP.

A bench has its own store, so what it learns of a judge comes from its own groups only.
"""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.content import Labelled, synthetic_groups
from podium_service.errors import PodiumError
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.registry import JudgeRegistry
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.ranking.kinds import LLMRanker, judge_kinds
from podium_service.ranking.pipeline import Ranker
from podium_service.ranking.screening import Screening
from podium_service.schemas import Ranking, RankRequest, Usage
from podium_service.scoring.estimate import Estimate
from podium_service.scoring.posterior import win_probabilities
from podium_service.scoring.rewards import compute_rewards
from podium_service.store.store import SQLStore, open_store
from podium_service.telemetry.metrics import Metrics

IN_FLIGHT = 64
# Load from other processes must not decide which groups are ranked.
DEADLINE_S = 3600.0
PATIENT: dict[str, Any] = {"timeout_s": 600, "attempts": 20}
CONTEXT_TOKENS = 131_072
# What turns a quality into a score: a standard deviation of truth is .08 points, a step of the grid
# a quarter of one. Winners eight noise sds above losers still fit on the scale.
SPREAD, GRID = 0.08, 0.02

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One group as it came back; every list is by trajectory, in the request's order.

    Attributes:
        group: what was ranked, and the truth.
        means: the estimate before shrinking.
        scores, rewards: as returned.
        stderr: of the means; None if not known.
        wins: the probability that one trajectory is better than another; empty if not known.
        verdicts: behind it, by body; `bodies` says which body a trajectory is.
    """

    group: Labelled
    means: list[float]
    scores: list[float]
    rewards: list[float]
    stderr: list[float] | None
    wins: list[list[float]]
    calls: int
    tokens: int
    passes: int
    method: str
    verdicts: list[Verdict]
    bodies: list[int]

    def of(self, estimate: Estimate) -> list[float]:
        """Return the rewards that another estimate of the same verdicts gives."""
        earned = compute_rewards(estimate, "win_probability")
        return [earned[body] for body in self.bodies]


class Bench:
    """A service without its door: the judges of one file, one store."""

    def __init__(self, judges: JudgeRegistry, store: SQLStore, metrics: Metrics) -> None:
        self.roster = judges.roster
        self.metrics = metrics
        self._kinds = judge_kinds(LLMRanker(store, metrics))
        self._ranker = Ranker(judges, store, metrics)
        self.failures: list[str] = []

    async def judge(self, name: str, groups: Sequence[Labelled]) -> list[Outcome]:
        """Judge all groups by one judge, many at once; those that fail are left out and noted."""

        async def one(group: Labelled) -> Outcome | None:
            try:
                return await self._score(name, group)
            except PodiumError as error:
                self.failures.append(f"{name}: {error.code}")
                return None

        return [outcome for outcome in await all_of(one, groups) if outcome]

    async def judge_all(self, name: str, groups: Sequence[Labelled]) -> list[Outcome]:
        """Judge all groups; if some fail, ask about all again, from the store where it can.

        Raises:
            RuntimeError: If groups still fail at the third time.
        """
        for _ in range(3):
            found = await self.judge(name, groups)
            if len(found) == len(groups):
                return found
        raise RuntimeError(f"groups of {name} fail: {Counter(self.failures)}")

    async def rank(
        self, name: str, groups: Sequence[Mapping[str, Any]], in_flight: int = IN_FLIGHT
    ) -> list[Ranking]:
        """Rank through the whole pipeline: gates, flags, datamarking.

        Raises:
            PodiumError: If one fails.
        """

        async def one(group: Mapping[str, Any]) -> Ranking:
            request = RankRequest.model_validate({**group, "judge": name, "deadline_s": DEADLINE_S})
            return await self._ranker.rank(request)

        return await all_of(one, groups, in_flight)

    async def _score(self, name: str, group: Labelled) -> Outcome:
        request = RankRequest.model_validate(group.group)
        config = self.roster.config.judges[name]
        request_context = RequestContext(ends_at=asyncio.get_running_loop().time() + DEADLINE_S)
        shown = range(len(request.trajectories))
        to_rank = GroupToRank(request, Screening(shown, {}, {}), name, config, self.roster.llms)
        scores = await self._kinds[config.kind](to_rank, request_context)
        return _outcome(
            group, scores, request_context.usage, compute_rewards(scores.estimate, config.reward)
        )


def _outcome(group: Labelled, scores: GroupScores, usage: Usage, earned: list[float]) -> Outcome:
    members = scores.transcript.members
    bodies = [0] * len(group.truth)
    for body, indices in enumerate(members):
        for index in indices:
            bodies[index] = body
    estimate = scores.estimate
    return Outcome(
        group=group,
        means=[estimate.means[body] for body in bodies],
        scores=[estimate.scores[body] for body in bodies],
        rewards=[earned[body] for body in bodies],
        stderr=[estimate.stderr[body] for body in bodies] if estimate.stderr else None,
        wins=win_probabilities(estimate.posterior)[np.ix_(bodies, bodies)].tolist(),
        calls=usage.calls,
        tokens=usage.prompt_tokens + usage.completion_tokens,
        passes=scores.passes,
        method=scores.method,
        verdicts=list(scores.verdicts),
        bodies=bodies,
    )


@asynccontextmanager
async def bench(judges: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[Bench]:
    """Open a bench for judges as a judges file has them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "judges.yaml"
        file.write_text(json.dumps({"default_judge": next(iter(judges)), "judges": dict(judges)}))
        metrics = Metrics()
        held = JudgeRegistry(file, metrics)
        try:
            async with open_store(f"{folder}/podium.db") as store:
                yield Bench(held, store, metrics)
        finally:
            await held.aclose()


def at(url: str, **settings: Any) -> dict[str, Any]:
    """Return the settings of a judge behind a URL, under one model name, so that orders repeat."""
    return {
        "model": "simulated",
        "base_urls": [url],
        "context_tokens": CONTEXT_TOKENS,
        **PATIENT,
        **settings,
    }


async def all_of(
    work: Callable[[T], Awaitable[R]], items: Sequence[T], in_flight: int = IN_FLIGHT
) -> list[R]:
    """Do all the work, so many at a time; results in order."""
    places = asyncio.Semaphore(in_flight)

    async def one(item: T) -> R:
        async with places:
            return await work(item)

    return list(await asyncio.gather(*map(one, items)))


def made_up(num: int, size: int, kind: str, rng: np.random.Generator) -> list[Labelled]:
    """Return groups of one kind.

    `hard`: truth normal with sd 1; `none`: all equal; `easy`: winners and losers by a fair coin,
    at least one of each, 8 apart.
    """
    groups = list(synthetic_groups(num, size, 0.0 if kind == "none" else 1.0, rng))
    if kind != "easy":
        return groups
    return [Labelled(each.group, each.cases, _coins(size, rng)) for each in groups]


def _coins(size: int, rng: np.random.Generator) -> list[float]:
    while True:
        wins = rng.integers(0, 2, size)
        if 0 < wins.sum() < size:
            return [8.0 * float(win) - 4.0 for win in wins]
