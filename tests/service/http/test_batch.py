"""Batches: how their groups start."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from podium_service.errors import JudgeUnavailable
from podium_service.http.api_key import UNRESTRICTED
from podium_service.http.batch import rank_all
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import BatchRequest
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics
from tests.fakes import Answer, Asked, ScriptedJudge, by_length, scores, until
from tests.service.helpers import client, group, llm, service

pytestmark = pytest.mark.anyio


class Holding:
    """A ranker that notes at which turn of a bystander's each group comes, and holds them all."""

    def __init__(self) -> None:
        self.turns = 0
        self.came_at: list[int] = []
        self.go = asyncio.Event()

    async def stand_by(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    async def rank(self, *_: Any) -> Any:
        self.came_at.append(self.turns)
        await self.go.wait()
        raise JudgeUnavailable("not today")


async def test_others_have_a_turn_between_two_groups_of_a_batch_and_all_are_soon_in_flight() -> (
    None
):
    holding = Holding()
    batch = BatchRequest(groups=[group("5", str(index)) for index in range(300)])
    whose = cast(Ranker, holding), batch, "r", UNRESTRICTED, cast(QuotaService, None), Metrics()

    async def lines() -> int:
        return len([line async for line in rank_all(*whose)])

    bystander = asyncio.create_task(holding.stand_by())
    ranking = asyncio.create_task(lines())
    await until(lambda: len(holding.came_at) == 300)
    bystander.cancel()
    assert len(set(holding.came_at)) == 300
    assert holding.came_at[-1] - holding.came_at[0] < 1000
    holding.go.set()
    assert await ranking == 300


async def test_a_batch_larger_than_the_line_puts_no_more_than_a_group_beyond_its_bound(
    tmp_path: Path,
) -> None:
    waiting, good = list[float](), scores(by_length)
    groups = [group("5", f"five {index}") for index in range(30)]

    def looks(asked: Asked) -> Answer:
        found = opened.metrics.registry.get_sample_value("podium_judge_waiting", {"judge": "main"})
        waiting.append(found or 0.0)
        return good(asked)

    async with ScriptedJudge(always=looks).serving() as judge:
        config = llm(judge.url, passes=4, queue=6, concurrency=2)
        async with service(tmp_path, main=config) as opened, client(opened) as http:
            answer = await http.post("/rank/batch", json={"groups": groups})
    assert answer.text.count('"status":"ranked"') == 30
    assert 0 < max(waiting) < 6 + 4
