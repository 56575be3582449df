"""Members that come one by one, and a ranking of them by the length of their answers."""

import asyncio
from collections.abc import Callable
from typing import Any

from podium_service.errors import PodiumError
from podium_service.ranking.gathering.rendezvous import Outcome, Rendezvous
from podium_service.ranking.gathering.seats import Terms
from podium_service.schemas import Ranking, RankRequest, Trajectory, TrajectoryResult, Usage
from tests.service.helpers import chat


def terms(size: int, *, least: int | None = None, **fields: Any) -> Terms:
    """Return terms of a group that has a key of its own, with much patience."""
    settings: dict[str, Any] = {"patience_s": 60.0, "is_unique": True, "shared": {}} | fields
    return Terms(size, size if least is None else least, **settings)


def attempt(answer: str, name: str = "-") -> Trajectory:
    return Trajectory.model_validate({"id": name, "messages": chat(answer)})


class Ranked:
    """Ranks by the length of the answers, and remembers what it was asked.

    Args:
        error: raised instead, while it is set.
    """

    def __init__(self, error: PodiumError | None = None) -> None:
        self.error = error
        self.requests: list[RankRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: RankRequest) -> Ranking:
        self.requests.append(request)
        await self.gate.wait()
        if self.error:
            raise self.error
        lengths = [len(str(each.messages[-1].content)) for each in request.trajectories]
        results = [
            TrajectoryResult(
                id=each.id,
                rank=1.0,
                reward=sum(other < length for other in lengths) / len(lengths),
                score=0.5,
                stderr=None,
            )
            for each, length in zip(request.trajectories, lengths, strict=True)
        ]
        return Ranking(
            id="rk_1", group_id=None, judge="main", model="m", method="listwise", passes=1,
            results=results, reliability=None, cached=False, usage=Usage(),
        )  # fmt: skip


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def joiner(rendezvous: Rendezvous, rank: Ranked, size: int, **fields: Any) -> Callable[..., Any]:
    """Return a function that starts to join a group by an answer, and a name if it has one."""

    def join(answer: str, name: str | None = None, key: str = "k") -> asyncio.Task[Outcome]:
        agreed = terms(size, **fields)
        return asyncio.create_task(
            rendezvous.join(key, agreed, name, attempt(answer, name or "-"), rank)
        )

    return join


def reward(outcome: Outcome) -> float:
    """Return the reward of a member, found by its id."""
    assert isinstance(outcome.result, Ranking)
    return next(x.reward for x in outcome.result.results if x.id == outcome.member)
