"""Several processes, one store: a group is asked about once, whoever leaves, fails or dies."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa

from podium_service.errors import JudgeRejected, StoreUnavailable
from podium_service.http.service import Service, open_service
from podium_service.schemas import Ranking, Usage
from podium_service.store.claims.claim_rows import Claim, ClaimRows
from podium_service.store.claims.claims import Claims
from podium_service.store.claims.process_liveness import find_ended, machine_id, process_name
from podium_service.store.database.database import CommitUnsure, Database, Rows
from podium_service.store.database.tables import CALLS, CLAIMS, OWNERS
from podium_service.store.store import open_store
from podium_service.store.write_queue import WriteQueue
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
        open_store(url, heartbeat_s=0.05, expire_after_s=1.2) as one,
        open_store(url, heartbeat_s=0.05, expire_after_s=1.2) as other,
    ):
        execute(
            url,
            sa.insert(OWNERS).values(id="dead", seen_at=0.0),
            sa.insert(CLAIMS).values(key=KEY, owner="dead"),
        )
        async with one.claim("b" * 64):
            async with other.claim(KEY):
                assert await rows(url, OWNERS) == 2
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.8), other.claim("b" * 64):
                    pass
        async with other.claim("b" * 64):
            assert await rows(url, CLAIMS) == 1
    assert await rows(url, OWNERS) == 0
    assert await rows(url, CLAIMS) == 0


async def test_a_claim_ends_behind_the_verdicts_that_were_paid_under_it(url: str) -> None:
    """Whoever is next finds them."""
    async with open_store(url) as one, open_store(url) as other:
        seen = []

        async def ask(index: int) -> None:
            store = (one, other)[index % 2]
            async with store.claim(KEY) as recalled:
                seen.append(recalled.calls)
                store.add_call(KEY, index, "main", call(), Usage(calls=1))

        await asyncio.gather(*(ask(index) for index in range(4)))
    assert seen == [0, 1, 2, 3]


async def test_who_leaves_at_any_moment_while_it_takes_a_claim_holds_none(url: str) -> None:
    async with open_store(url) as store:
        for turns in range(5):  # of the event loop: not begun, queued, asked of the database
            entering = asyncio.create_task(store.claim(KEY).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            assert entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            async with asyncio.timeout(5), store.claim(KEY):
                assert await rows(url, CLAIMS) == 1


async def test_after_an_outage_of_the_store_nobody_takes_the_others_for_dead(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "podium.db")
    async with (
        open_store(path, heartbeat_s=0.05, expire_after_s=1.2) as one,
        open_store(path, heartbeat_s=0.05, expire_after_s=1.2) as other,
        one.claim("a" * 64),
        other.claim("b" * 64),
    ):
        await asyncio.sleep(1.5)  # both have beaten, and may bury
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(1.5)
        writer.close()
        await asyncio.sleep(0.5)
        assert await rows(path, CLAIMS) == 2


async def test_who_was_cut_off_gives_the_others_time_to_be_seen_again(url: str) -> None:
    database = Database(url)
    one, other = ClaimRows(database), ClaimRows(database)

    def other_is_buried() -> bool:
        one.heartbeat([], 0.5)
        return one.find_claimed(["one", "other"]) == {"one"}

    for key, each in (("one", one), ("other", other)):
        each.claim([key])
    await until(other_is_buried)
    other.heartbeat([], 0.5)
    other.claim(["other"])
    await asyncio.sleep(0.6)
    one.heartbeat([], 0.5)
    assert one.find_claimed(["one", "other"]) == {"one", "other"}
    await until(other_is_buried)
    database.close()


async def test_who_was_buried_is_seen_again_with_its_next_claim(url: str) -> None:
    async with open_store(url, heartbeat_s=3600.0) as store, store.claim("a" * 64):
        execute(url, sa.delete(OWNERS))
        async with store.claim("b" * 64):
            assert await rows(url, OWNERS) == 1


class Faulty(ClaimRows):
    """Opens the first keys with an error, before or after the commit; beats on request."""

    def __init__(self, database: Database, error: Exception, *, commits: bool) -> None:
        super().__init__(database)
        self.error: Exception | None = error
        self.commits = commits
        self.beat_error: Exception | None = None
        self.beaten: set[str] = set()
        self.may_beat = Event()

    def claim(self, keys: Collection[str]) -> dict[str, Claim]:
        error, self.error = self.error, None
        claims = super().claim(keys) if self.commits or not error else {}
        if error:
            raise error
        return claims

    def heartbeat(self, unreleased: Collection[str], expire_after_s: float) -> None:
        error, self.beat_error = self.beat_error, None
        if error:
            raise error
        self.beaten |= set(unreleased)
        self.may_beat.wait(10)
        super().heartbeat(unreleased, expire_after_s)
        self.beaten.clear()


@asynccontextmanager
async def faulty(
    url: str, error: Exception, *, commits: bool
) -> AsyncIterator[tuple[Faulty, Claims]]:
    """The claims of a process that had this error with its first."""
    database = Database(url)
    rows = Faulty(database, error, commits=commits)

    async def write(_: Rows, released: list[str]) -> None:
        with database.writing() as connection:
            rows.release(connection, released)

    async with running(rows, database, WriteQueue(write)) as claims:
        yield rows, claims
        rows.may_beat.set()


@asynccontextmanager
async def running(rows: ClaimRows, database: Database, writer: WriteQueue) -> AsyncIterator[Claims]:
    """The claims of a process that beats all the time."""
    claims = Claims(rows, database, writer, heartbeat_s=0.02, expire_after_s=10.0)
    writing = asyncio.create_task(writer.run())
    yield claims
    writer.stop()
    await writing
    await claims.close()
    database.close()


@pytest.mark.parametrize("error", [CommitUnsure("the server is gone"), RuntimeError("a bug")])
@pytest.mark.parametrize("leaves", [False, True])
async def test_a_claim_that_was_taken_without_an_answer_is_given_up(
    error: Exception, leaves: bool, tmp_path: Path
) -> None:
    async with faulty(str(tmp_path / "podium.db"), error, commits=True) as (rows, claims):
        rows.may_beat.set()
        first = asyncio.create_task(claims.hold(KEY).__aenter__())
        if leaves:
            await asyncio.sleep(0)
            first.cancel()
        with pytest.raises((StoreUnavailable, RuntimeError, asyncio.CancelledError)):
            await first
        async with asyncio.timeout(5), claims.hold(KEY):
            assert rows.error is None
            assert rows.find_claimed([KEY])


async def test_what_is_being_given_up_is_not_taken_meanwhile(tmp_path: Path) -> None:
    """The claim just taken would be given up with it."""
    error = CommitUnsure("the server is gone")
    async with faulty(str(tmp_path / "podium.db"), error, commits=False) as (rows, claims):
        held = claims.hold(KEY)
        with pytest.raises(StoreUnavailable):
            await held.__aenter__()
        await until(lambda: KEY in rows.beaten)
        async with AsyncExitStack() as stack:
            taking = asyncio.create_task(stack.enter_async_context(claims.hold(KEY)))
            await asyncio.wait({taking}, timeout=0.2)
            rows.may_beat.set()
            await taking
            await until(lambda: not rows.beaten)
            assert rows.find_claimed([KEY])


async def test_a_process_beats_on_whatever_went_wrong_with_one_beat(tmp_path: Path) -> None:
    error = CommitUnsure("the server is gone")
    async with faulty(str(tmp_path / "podium.db"), error, commits=True) as (rows, claims):
        rows.beat_error = RuntimeError("a bug")
        with pytest.raises(StoreUnavailable):
            await claims.hold(KEY).__aenter__()
        await until(lambda: rows.beat_error is None)
        rows.may_beat.set()
        await until(lambda: not rows.find_claimed([KEY]))  # given up by the next one


async def test_an_end_of_a_claim_that_is_tried_again_does_not_end_the_next_one(
    tmp_path: Path,
) -> None:
    """The first commit went through, and only its answer was lost."""
    database = Database(str(tmp_path / "podium.db"))
    rows = ClaimRows(database)
    tries = 0

    async def write(_: Rows, released: list[str]) -> None:
        nonlocal tries
        with database.writing() as connection:
            rows.release(connection, released)
        tries += 1
        if tries == 1:
            raise StoreUnavailable("the server is gone")

    async with running(rows, database, WriteQueue(write)) as claims:
        async with claims.hold(KEY):
            pass
        async with asyncio.timeout(5), claims.hold(KEY):
            await until(lambda: tries == 2)
            assert rows.find_claimed([KEY])


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
    gone = f"{machine_id()}-{child.pid}-0123456789ab"
    strange = f"00000000-{child.pid}-0123456789ab"
    own = process_name()
    assert len(own) <= 32
    assert find_ended([own, gone, strange, f"{machine_id()}-{os.getppid()}-ab"], own) == [gone]
