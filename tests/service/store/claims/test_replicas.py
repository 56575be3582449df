"""Several services on one store: a group is judged once, whatever happens to one of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from podium_service.errors import JudgeRejected
from podium_service.http.service import Service, open_service
from podium_service.schemas import Ranking
from podium_service.store.database.tables import CALLS
from tests.fakes import ScriptedJudge, by_length, fails, later, scores, until
from tests.service.helpers import judges_file, llm, request
from tests.service.store.helpers import count_rows

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def replicas(
    url: str, judge: ScriptedJudge, tmp_path: Path, count: int = 2
) -> AsyncIterator[list[Service]]:
    """Open several services on one store, with one judge."""
    config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, passes=2))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_service(config, url)) for _ in range(count)]


def rank(replica: Service) -> asyncio.Task[Ranking]:
    """Start ranking the same group at a service."""
    return asyncio.create_task(replica.ranker.rank(request("one", "or another")))


async def test_a_group_sent_to_all_replicas_at_once_is_paid_once(url: str, tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length, delay_s=0.1)).serving() as judge,
        replicas(url, judge, tmp_path, 3) as services,
    ):
        rankings = await asyncio.gather(*(rank(each) for each in services * 3))
        assert judge.calls == 2
    assert len({ranking.model_dump_json(exclude={"cached", "usage"}) for ranking in rankings}) == 1
    assert sum(ranking.usage.calls for ranking in rankings) == 2
    assert sum(not ranking.cached for ranking in rankings) == 1


async def test_a_replica_uses_the_verdicts_of_a_cancelled_request(url: str, tmp_path: Path) -> None:
    script = [scores(by_length), later(scores(by_length), 3600.0)]
    async with (
        ScriptedJudge(script, always=scores(by_length)).serving() as judge,
        replicas(url, judge, tmp_path) as (one, other),
    ):
        cancelled = rank(one)
        await until(lambda: judge.calls == 2)
        waiting = rank(other)

        async def is_stored() -> bool:
            await one.store.flush()
            return await count_rows(url, CALLS) == 1

        await until(is_stored)
        cancelled.cancel()
        assert (await waiting).passes == 2
        assert judge.calls == 3  # the stored verdict is not asked for again


async def test_a_replica_asks_by_itself_after_another_one_failed(url: str, tmp_path: Path) -> None:
    script = [later(fails(401), 0.1)] * 2
    async with (
        ScriptedJudge(script, always=scores(by_length)).serving() as judge,
        replicas(url, judge, tmp_path) as (one, other),
    ):
        failing = rank(one)
        await until(lambda: judge.calls == 2)
        waiting = rank(other)
        with pytest.raises(JudgeRejected):
            await failing
        assert (await waiting).usage.calls == 2
