"""The store, on SQLite and on a real PostgreSQL: what is kept, what replays, what prune leaves."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
import zstandard

from podium_service.errors import ConfigError, StoreUnavailable
from podium_service.schemas import Ranking, Usage
from podium_service.scoring.noise import EMPTY_PAST_GROUP
from podium_service.store.call_records import call_rows, compress_texts
from podium_service.store.database.tables import CALLS, TEXTS
from podium_service.store.protocol import StoredVerdicts
from podium_service.store.pruning import prune_some
from podium_service.store.quotas.spend import SpendAccount
from podium_service.store.store import SQLStore, open_store
from tests.fakes import until
from tests.service.helpers import LONG, VERDICT, call
from tests.service.postgres import emptied, engine_at

pytestmark = pytest.mark.anyio

KEY = "a" * 64


def ranking(ranking_id: str = "rk_1", **fields: Any) -> Ranking:
    nothing: dict[str, Any] = {
        "results": [],
        "reliability": None,
        "cached": False,
        "usage": Usage(),
    }
    about = {"group_id": "g\0 \U0001f3c6", "judge": "main", "model": "m", "method": "listwise"}
    return Ranking.model_validate({"id": ranking_id, "passes": 1, **about, **nothing, **fields})


async def read_verdicts(store: SQLStore, key: str) -> StoredVerdicts:
    async with store.claim(key) as stored:
        return stored


async def test_verdicts_come_back_by_pass_and_faults_do_not(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(verdict=None, fault="no JSON \ud83d"), Usage(calls=1))
        store.add_call(KEY, 1, "main", call(), Usage(calls=1))
        await store.add_ranking(KEY, ranking(), {"ids": ["a", "b"]})
        assert (await read_verdicts(store, KEY)).verdicts == {1: VERDICT}
        assert (await read_verdicts(store, "b" * 64)).verdicts == {}


async def test_a_ranking_replays_with_exact_prompts_and_replies_after_reopening(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(verdict=None, fault="no JSON"), Usage(calls=1))
        store.add_call(KEY, 0, "main", call(), Usage(calls=1, cost_usd=0.25))
        await store.add_ranking(KEY, ranking(), {"ids": ["a\0", "b"], "metadata": None})
    async with open_store(url) as store:
        kept = await store.read_ranking("rk_1")
        assert kept is not None
        assert Ranking.model_validate(kept["answer"]) == ranking()
        assert kept["request"]["ids"] == ["a\0", "b"]
        first, second = await store.read_calls(kept["key"])
    assert (first["fault"], first["verdict"]) == ("no JSON", None)
    assert second["verdict"]["scores"] == [0.9, 0.1]
    assert second["messages"] == [
        {"role": "system", "content": "Be fair."},
        {"role": "user", "content": f"Here: {LONG}"},
    ]
    assert second["reply"] == '{"BCD": ?'  # half a character cannot be kept
    assert second["model"] == "m"
    assert second["usage"]["cost_usd"] == 0.25


async def test_the_first_answer_under_an_id_stays(url: str) -> None:
    async with open_store(url) as store:
        await store.add_ranking(KEY, ranking(group_id="first"), {})
        await store.add_ranking(KEY, ranking(group_id="second"), {})
        kept = await store.read_ranking("rk_1")
        assert kept is not None
        assert kept["answer"]["group_id"] == "first"
        assert await store.read_ranking("rk_2") is None


async def test_many_at_once_are_all_kept(url: str) -> None:
    async with open_store(url) as store:

        async def rank(index: int) -> None:
            store.add_call(f"{index:064d}", 0, "main", call(f"{LONG}{index % 7}"), Usage(calls=1))
            await store.add_ranking(f"{index:064d}", ranking(f"rk_{index}"), {})

        await asyncio.gather(*(rank(index) for index in range(200)))
    async with open_store(url) as store:
        for index in (0, 99, 199):
            assert await store.read_ranking(f"rk_{index}")
            assert (await read_verdicts(store, f"{index:064d}")).verdicts == {0: VERDICT}


async def test_prune_leaves_the_texts_of_content_that_was_asked_about_again(url: str) -> None:
    async with open_store(url) as store:
        for key in (KEY, "b" * 64):
            store.add_call(key, 0, "main", call(LONG), Usage(calls=1))
            store.add_call(key, 1, "main", call(LONG + "old"), Usage(calls=1))
            await store.add_ranking(key, ranking(f"rk_{key[0]}"), {})
        boundary = time.time()
        await until(lambda: time.time() > boundary + 0.02)
        store.add_call("b" * 64, 0, "main", call(LONG), Usage(calls=1))
        await store.add_ranking("b" * 64, ranking("rk_new"), {})
        assert await store.prune(time.time() - boundary) == {
            "rankings": 3, "past_groups": 0, "calls": 4, "texts": 2,
        }  # fmt: skip
        assert await store.read_ranking("rk_a") is None
        [left] = await store.read_calls("b" * 64)
    assert left["messages"][1]["content"] == f"Here: {LONG}"


async def test_texts_are_kept_small_and_once_for_all_calls_of_a_content_key(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(LONG), Usage(calls=1))
        store.add_call(KEY, 1, "main", call(LONG), Usage(calls=1))
        await store.flush()
        [kept] = await store.select(sa.select(TEXTS.c.content))
    assert len(kept.content) < len(LONG.encode()) / 5


def test_texts_that_are_tried_again_are_not_packed_again() -> None:
    rows = call_rows(KEY, 0, "main", call(LONG), Usage(calls=1))
    compress_texts(rows)
    once = rows[TEXTS][0]["content"]
    compress_texts(rows)
    assert rows[TEXTS][0]["content"] is once
    assert zstandard.ZstdDecompressor().decompress(once) == LONG.encode()


def set_age(database: sa.Connection, key: str, age_s: float) -> None:
    of_key = sa.update(CALLS).where(CALLS.c.key == key)
    database.execute(of_key.values(created_at=time.time() - age_s))


async def test_prune_waits_for_a_call_that_rests_on_texts_of_an_old_one(postgres: str) -> None:
    async with open_store(emptied(postgres)) as store:
        store.add_call(KEY, 0, "main", call(LONG), Usage(calls=1))
        await store.flush()
        await store.run_in_transaction(lambda database: set_age(database, KEY, 100.0))
        database = store._database
        new = call_rows(KEY, 1, "main", call(LONG), Usage(calls=1))
        compress_texts(new)
        with database.writing() as connection:
            database.insert(connection, new)
            pruning = asyncio.create_task(store.prune(50.0))

            locks: sa.Select[Any] = sa.select(sa.column("pid")).select_from(sa.table("pg_locks"))

            async def waits() -> bool:
                return any(await store.select(locks.where(sa.text("NOT granted"))))

            await until(waits)
        assert (await pruning)["calls"] == 1
        [left] = await store.read_calls(KEY)
    assert left["messages"][1]["content"] == f"Here: {LONG}"


async def test_a_replay_sees_one_moment_of_the_store(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(LONG), Usage(calls=1))
        await store.flush()
        with store._database.reading_snapshot() as connection:
            assert connection.execute(sa.select(CALLS.c.id)).all()
            assert (await store.prune(-1.0))["calls"] == 1
            assert connection.execute(sa.select(TEXTS.c.hash)).all()
        assert not await store.read_calls(KEY)


class Interrupted:
    """A connection that does something before each statement but the first."""

    def __init__(self, connection: sa.Connection, meanwhile: Callable[[], object]) -> None:
        self._connection = connection
        self._meanwhile = meanwhile
        self._executed = 0

    def execute(self, *statement: Any) -> Any:
        if self._executed:
            self._meanwhile()
        self._executed += 1
        return self._connection.execute(*statement)


async def test_what_is_recalled_of_a_group_while_it_is_pruned_is_of_one_moment(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(), Usage(calls=1))
        store.add_past_group(KEY, "j", EMPTY_PAST_GROUP, None)
        await store.flush()
        await store.run_in_transaction(lambda database: set_age(database, KEY, 100.0))
        store.add_call(KEY, 1, "main", call(), Usage(calls=1))
        await store.flush()
        database = store._database

        def prune() -> None:
            before = time.time() - 50.0
            database.run_in_transaction(lambda connection: prune_some(connection, before, 9))

        with database.reading() as connection:
            interrupted = cast(sa.Connection, Interrupted(connection, prune))
            found = database.read_keys(interrupted, [KEY])[KEY]
        assert found.complete
        assert len(found.calls) == 2
        prune()
        recalled = await read_verdicts(store, KEY)
        assert not recalled.complete
        assert recalled.verdicts == {1: VERDICT}


async def test_two_services_share_one_database(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        one.add_call(KEY, 0, "main", call(), Usage(calls=1))
        await one.add_ranking(KEY, ranking(), {})
        assert (await read_verdicts(other, KEY)).verdicts == {0: VERDICT}
        await other.add_ranking(KEY, ranking("rk_2"), {})
        assert await one.read_ranking("rk_2")


@pytest.mark.parametrize(
    "bad", ["/nowhere/podium.db", "sqlite:////nowhere/x.db", "mysql://u:s@h/x"]
)
async def test_a_store_that_cannot_be_opened_is_one_line(bad: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_store(bad):
            pass
    assert "\n" not in str(caught.value)
    assert "u:s@" not in str(caught.value)


async def test_a_write_that_fails_fails_its_ranking_and_the_store_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE rankings RENAME TO hidden")
        with pytest.raises(StoreUnavailable, match="no such table: rankings"):
            await store.add_ranking(KEY, ranking(), {})
        database.execute("ALTER TABLE hidden RENAME TO rankings")
        database.close()
        await store.add_ranking(KEY, ranking(), {})
        assert await store.read_ranking("rk_1")


async def test_calls_are_kept_while_the_database_is_away_and_written_once_it_is_back(
    tmp_path: Path,
) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE calls RENAME TO hidden")
        store.add_call(KEY, 0, "main", call(), Usage(calls=1))
        await store.flush()  # tried, and failed
        with pytest.raises(StoreUnavailable, match="verdicts could not be written"):
            await store.add_ranking(KEY, ranking(), {})
        await store.add_ranking("b" * 64, ranking("rk_2"), {})  # another group's is not held up
        assert await store.read_ranking("rk_1") is None
        database.execute("ALTER TABLE hidden RENAME TO calls")
        database.close()
        await store.add_ranking(KEY, ranking(), {})  # nothing was asked again
        assert (await read_verdicts(store, KEY)).verdicts == {0: VERDICT}


async def test_calls_kept_are_written_though_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE calls RENAME TO hidden")
        store.add_call(KEY, 0, "main", call(), Usage(calls=1))
        await store.flush()
        database.execute("ALTER TABLE hidden RENAME TO calls")
        count = "SELECT count(*) FROM calls"
        await until(lambda: database.execute(count).fetchone() == (1,))
        database.close()


async def test_a_ranking_whose_calls_were_lost_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    async with open_store(str(path)) as store:
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE calls RENAME TO hidden")
        store.add_call(KEY, 0, "main", call(), Usage(calls=1))
        store.write_queue.keep_s = 0.0
        await store.flush()
        await store.flush()  # tried again, and given up
        database.execute("ALTER TABLE hidden RENAME TO calls")
        database.close()
        with pytest.raises(StoreUnavailable, match="verdicts could not be written"):
            await store.add_ranking(KEY, ranking(), {})
        assert await store.read_ranking("rk_1") is None
        store.add_call(KEY, 0, "main", call(), Usage(calls=1))  # asked again
        await store.add_ranking(KEY, ranking(), {})
        assert (await read_verdicts(store, KEY)).verdicts == {0: VERDICT}


async def test_a_claim_lasts_until_the_calls_paid_under_it_are_written(tmp_path: Path) -> None:
    """A disk that is full for calls may hold the end of a claim."""
    path = str(tmp_path / "podium.db")
    async with open_store(path, heartbeat_s=0.02) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            async with store.claim(KEY):
                database.execute(FULL)
                store.add_call(KEY, 0, "main", call(), Usage(calls=1))
                await store.flush()  # tried, and failed
            await store.flush()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0), store.claim(KEY):
                    pass
            database.execute("DROP TRIGGER full")
        async with asyncio.timeout(5), store.claim(KEY) as recalled:
            assert recalled.verdicts == {0: VERDICT}


async def test_a_claim_ends_when_the_calls_paid_under_it_are_given_up(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    async with open_store(path, heartbeat_s=0.02) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            async with store.claim(KEY), store.claim("b" * 64):
                database.execute(FULL)
                store.add_call(KEY, 0, "main", call(), Usage(calls=1))
                await store.flush()
            store.write_queue.keep_s = 0.0
            async with asyncio.timeout(5), store.claim(KEY) as recalled:
                assert not recalled.calls


FULL = "CREATE TRIGGER full BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        opened: SQLStore = store
    with pytest.raises(StoreUnavailable, match="closed"):
        await opened.add_ranking(KEY, ranking(), {})


async def test_a_store_whose_closing_is_interrupted_has_written_all(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    key, locks = SpendAccount("key:a", 1.0, "day"), sqlite3.connect(path, isolation_level=None)
    opened = asyncio.Event()

    async def serve() -> None:
        async with open_store(path) as store:
            store.quotas.settle([key], 0.0, 0.1, at=time.time())
            locks.execute("BEGIN IMMEDIATE")
            store.add_call(KEY, 0, "main", call(), Usage(calls=1))
            opened.set()

    serving = asyncio.create_task(serve())
    await opened.wait()
    await asyncio.sleep(0)  # it closes, and waits for what is to be settled
    serving.cancel()
    await asyncio.sleep(0)
    locks.close()
    with pytest.raises(asyncio.CancelledError):
        await serving
    async with open_store(path) as store:
        assert (await read_verdicts(store, KEY)).verdicts == {0: VERDICT}


@pytest.mark.postgres
async def test_who_freezes_in_a_transaction_keeps_its_locks_for_ten_seconds(postgres: str) -> None:
    async with open_store(postgres) as store:
        setting = sa.text("SHOW idle_in_transaction_session_timeout")
        assert await store.run_in_transaction(lambda it: it.scalar(setting)) == "10s"


@pytest.mark.postgres
async def test_a_server_that_ended_all_connections_is_used_again(postgres: str) -> None:
    async with open_store(postgres) as store:
        await store.add_ranking(KEY, ranking("rk_before"), {})
        with engine_at(postgres) as engine, engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> "
            connection.exec_driver_sql(
                others + "pg_backend_pid() AND backend_type = 'client backend'"
            )
        assert await store.read_ranking("rk_before")
        await store.add_ranking(KEY, ranking("rk_after"), {})
        async with store.claim("b" * 64):
            assert await store.quotas.count("again", 1) == 0.0
