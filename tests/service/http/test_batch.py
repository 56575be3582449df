"""`POST /rank/batch`: one line per group, and how the groups start."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from podium_service.errors import JudgeUnavailable
from podium_service.http.access.api_key import UNRESTRICTED
from podium_service.http.batch import rank_all
from podium_service.http.service import Service
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import BatchRequest
from podium_service.store.store import SQLStore
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    by_length,
    hangs,
    scores,
    until,
)
from tests.service.helpers import batch_lines, client, client_of_judge, group, llm, service
from tests.service.process import running_with

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)
REFERENCE = {"reference": "5"}


async def test_a_bad_group_fails_only_its_own_line(tmp_path: Path) -> None:
    groups = [
        group("5", "five", group_id="good"),
        group(group_id="empty"),
        7,
        group("5", "five", group_id="lost", judge="nope"),
        group("5", "5", group_id="same"),
        {"group_id": 7},
    ]
    async with client_of_judge(tmp_path, GOOD) as (http, _):
        answer = await http.post("/rank/batch", json={"groups": groups})
    lines = batch_lines(answer)
    assert [(line["index"], line["group_id"], line["status"]) for line in lines] == [
        (0, "good", "ranked"),
        (1, "empty", "failed"),
        (2, None, "failed"),
        (3, "lost", "failed"),
        (4, "same", "ranked"),
        (5, "7", "failed"),
    ]
    for line in lines:
        member = "ranking" if line["status"] == "ranked" else "problem"
        assert line.keys() == {"index", "group_id", "status", member}
    problems = [line["problem"] for line in lines if "problem" in line]
    assert [p["code"] for p in problems] == ["invalid_request"] * 2 + ["unknown_judge"] + [
        "invalid_request"
    ]
    assert {p["request_id"] for p in problems} == {answer.headers["x-request-id"]}
    assert problems[0]["errors"][0]["field"] == "trajectories"


async def test_a_line_holds_the_same_ranking_as_rank_returns(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD, passes=1) as (http, _):
        alone = await http.post("/rank", json=group("5", "five"))
        [line] = batch_lines(await http.post("/rank/batch", json={"groups": [group("5", "five")]}))
    assert line["ranking"]["reliability"] is None
    assert line["ranking"] == alone.json() | {
        "cached": True,
        "usage": line["ranking"]["usage"],
    }


async def test_a_group_id_over_the_limit_is_not_repeated(
    http: httpx.AsyncClient,
) -> None:
    bad = group("5", "6", group_id="x" * 100_000, **REFERENCE)
    answer = await http.post("/rank/batch", json={"groups": [bad]})
    assert batch_lines(answer)[0]["status"] == "failed"
    assert len(answer.content) < 4000


async def test_a_batch_without_groups_has_no_lines(http: httpx.AsyncClient) -> None:
    assert batch_lines(await http.post("/rank/batch", json={"groups": []})) == []


async def test_a_batch_deadline_is_the_default_of_its_groups(tmp_path: Path) -> None:
    groups = [group("5", "five"), group("5", "six", deadline_s=0.25)]
    async with client_of_judge(tmp_path, hangs) as (http, _):
        lines = batch_lines(
            await http.post("/rank/batch", json={"groups": groups, "deadline_s": 0.125})
        )
    assert [line["problem"]["detail"].split(" s ")[0] for line in lines] == ["0.125", "0.25"]


async def test_a_group_that_occurs_twice_in_a_batch_is_paid_once(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD) as (http, judge):
        lines = batch_lines(
            await http.post("/rank/batch", json={"groups": [group("5", "five")] * 3})
        )
    assert judge.calls == 4
    assert len({line["ranking"]["id"] for line in lines}) == 1


async def test_a_slow_group_does_not_delay_other_lines(tmp_path: Path) -> None:
    slow = ScriptedJudge(always=GOOD, hold=1000)
    async with (
        slow.serving(),
        ScriptedJudge(always=GOOD).serving() as fast,
        running_with(tmp_path, slow=llm(slow.url), fast=llm(fast.url)) as (http, _),
    ):
        groups = [group("5", "five", judge="slow"), group("6", "six", judge="fast")]
        async with http.stream("POST", "/rank/batch", json={"groups": groups}) as answer:
            lines = answer.aiter_lines()
            assert json.loads(await anext(lines))["index"] == 1
            await until(lambda: slow.in_flight == 4)  # the slow judge has not answered yet
            slow.hold = 0
            assert json.loads(await anext(lines))["index"] == 0


class Holding:
    """A ranker that counts the event loop's turns between its groups, and holds them all."""

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


async def test_the_event_loop_serves_others_between_two_groups() -> None:
    holding = Holding()
    batch = BatchRequest(groups=[group("5", str(index)) for index in range(300)])
    store = cast(SQLStore, SimpleNamespace(quotas=None))
    opened = Service(cast(Ranker, holding), store, Metrics())

    async def lines() -> int:
        return len([line async for line in rank_all(opened, batch, "r", UNRESTRICTED)])

    bystander = asyncio.create_task(holding.stand_by())
    ranking = asyncio.create_task(lines())
    await until(lambda: len(holding.came_at) == 300)
    bystander.cancel()
    assert len(set(holding.came_at)) == 300
    assert holding.came_at[-1] - holding.came_at[0] < 1000
    holding.go.set()
    assert await ranking == 300


async def test_a_batch_exceeds_the_queue_by_at_most_one_group(
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
