"""Several processes, one store: a group is asked about once, whoever leaves, fails or dies."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.app import Service
from service.errors import JudgeRejected
from service.neighbours import ended, machine, process_name
from service.schemas import Ranking, Usage
from service.server import open_service
from service.store import open_store
from service.tables import CALLS, CLAIMS, OWNERS
from tests.fakes import ScriptedJudge, by_length, fails, later, scores, until
from tests.service.helpers import call, judges_file, llm, request
from tests.service.postgres import engine_at

pytestmark = pytest.mark.anyio

KEY = "a" * 64


@asynccontextmanager
async def replicas(
    url: str, judge: ScriptedJudge, tmp_path: Path, count: int = 2
) -> AsyncIterator[list[Service]]:
    config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, passes=2))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_service(config, url)) for _ in range(count)]


def rank(replica: Service, *answers: str) -> asyncio.Task[Ranking]:
    return asyncio.create_task(replica.ranker.rank(request(*(answers or ("one", "or another")))))


async def test_a_group_asked_at_all_replicas_at_once_is_paid_once(url: str, tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length, delay_s=0.1)).serving() as judge,
        replicas(url, judge, tmp_path, 3) as services,
    ):
        rankings = await asyncio.gather(*(rank(each) for each in services * 3))
        assert judge.calls == 2
    assert len({ranking.model_dump_json(exclude={"cached", "usage"}) for ranking in rankings}) == 1
    assert sum(ranking.usage.calls for ranking in rankings) == 2
    assert sum(not ranking.cached for ranking in rankings) == 1


async def test_when_the_caller_leaves_its_replica_the_other_goes_on_from_what_was_paid(
    url: str, tmp_path: Path
) -> None:
    script = [scores(by_length), later(scores(by_length), 3600.0)]
    async with (
        ScriptedJudge(script, always=scores(by_length)).serving() as judge,
        replicas(url, judge, tmp_path) as (one, other),
    ):
        leaver = rank(one)
        await until(lambda: judge.calls == 2)
        stayer = rank(other)

        async def kept() -> bool:
            await one.store.flush()
            return await rows(url, CALLS) == 1

        await until(kept)
        leaver.cancel()
        assert (await stayer).passes == 2
        assert judge.calls == 3  # the verdict at hand was not asked for again


async def test_when_one_replica_fails_the_other_asks_for_itself(url: str, tmp_path: Path) -> None:
    script = [later(fails(401), 0.1)] * 2
    async with (
        ScriptedJudge(script, always=scores(by_length)).serving() as judge,
        replicas(url, judge, tmp_path) as (one, other),
    ):
        failing = rank(one)
        await until(lambda: judge.calls == 2)
        ranking = rank(other)
        with pytest.raises(JudgeRejected):
            await failing
        assert (await ranking).usage.calls == 2


async def test_the_claims_of_a_dead_process_are_swept_away_and_of_a_living_one_are_not(
    url: str,
) -> None:
    async with (
        open_store(url, beat_s=0.02, dead_after_s=0.5) as one,
        open_store(url, beat_s=0.02, dead_after_s=0.5) as other,
    ):
        execute(
            url,
            sa.insert(OWNERS).values(id="dead", seen_at=0.0),
            sa.insert(CLAIMS).values(key=KEY, owner="dead"),
        )
        async with one.claimed("b" * 64):
            async with other.claimed(KEY):
                assert await rows(url, OWNERS) == 2
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7), other.claimed("b" * 64):
                    pass
        async with other.claimed("b" * 64):
            assert await rows(url, CLAIMS) == 1
    assert await rows(url, OWNERS) == 0
    assert await rows(url, CLAIMS) == 0


async def test_a_claim_ends_behind_the_verdicts_that_were_paid_under_it(url: str) -> None:
    """Whoever is next finds them."""
    async with open_store(url) as one, open_store(url) as other:
        seen = []

        async def ask(index: int) -> None:
            store = (one, other)[index % 2]
            async with store.claimed(KEY):
                recalled = await store.verdicts(KEY)
                seen.append(recalled.calls)
                store.add_call(KEY, index, "main", call(), Usage(calls=1))

        await asyncio.gather(*(ask(index) for index in range(4)))
    assert seen == [0, 1, 2, 3]


async def test_who_leaves_at_any_moment_while_it_takes_a_claim_holds_none(url: str) -> None:
    async with open_store(url) as store:
        for turns in range(5):  # of the event loop: not begun, queued, asked of the database
            entering = asyncio.create_task(store.claimed(KEY).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            assert entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            async with asyncio.timeout(5), store.claimed(KEY):
                assert await rows(url, CLAIMS) == 1


def execute(url: str, *statements: sa.Executable) -> None:
    with engine_at(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)


async def rows(url: str, table: sa.Table) -> int:
    with engine_at(url) as engine, engine.connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    return int(count)


def test_a_process_that_ended_on_this_machine_is_known_to_have_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    gone = f"{machine()}-{child.pid}-0123456789ab"
    strange = f"00000000-{child.pid}-0123456789ab"
    own = process_name()
    assert len(own) <= 32
    assert ended([own, gone, strange, f"{machine()}-{os.getppid()}-ab"], own) == [gone]
