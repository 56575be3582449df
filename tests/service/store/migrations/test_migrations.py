"""A store of an older version: it is brought up to date when it is opened, and loses nothing.

`store_0001.*.sql` hold the store of the commit before there were versions, as its own service wrote
it: two groups by an LLM, one by a jury, one by checks, and an API key.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from podium_service.errors import ConfigError
from podium_service.http.access.api_key_store import list_keys
from podium_service.store import migrations
from podium_service.store.database.tables import ASKS, METADATA, SCHEMA_VERSION
from podium_service.store.history.filters import RankingFilters
from podium_service.store.history.reader import HistoryReader
from podium_service.store.history.spend import read_spend
from podium_service.store.migrations.schema import open_database, read_version
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.notes import Notes
from podium_service.store.people.person import Person
from podium_service.store.store import open_store
from tests.service.postgres import engine_at
from tests.service.store.helpers import execute

pytestmark = pytest.mark.anyio
HERE = Path(__file__).parent


def fill(url: str) -> str:
    """Make a store of the first version at a URL, and return the URL."""
    if not url.startswith("postgres"):
        with closing(sqlite3.connect(url)) as database:
            database.executescript((HERE / "store_0001.sqlite.sql").read_text())
            return url
    with engine_at(url) as engine, engine.begin() as connection:
        connection.exec_driver_sql((HERE / "store_0001.postgresql.sql").read_text())
    return url


@pytest.fixture
def old_url(url: str) -> str:
    return fill(url)


def count_all(url: str) -> dict[str, int]:
    with engine_at(url) as engine, engine.connect() as connection:
        return {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
            for name in sa.inspect(connection).get_table_names()
        }


async def test_an_old_store_loses_nothing(old_url: str) -> None:
    before = count_all(old_url)
    async with open_store(old_url) as store:
        reader = HistoryReader(store)
        rankings = (await reader.list_rankings()).rankings
        details = {each.id: await reader.read_ranking(each.id) for each in rankings}
        calls = {each.group_id: await reader.read_calls(each.id) for each in rankings}
        [key] = await list_keys(store)
    after = count_all(old_url)
    assert {name: after[name] for name in before} == before
    assert (before["rankings"], before["calls"], before["past_groups"]) == (4, 7, 4)
    assert key.name == "trainer"
    # Newest first, as they were ranked.
    *_, second, first = rankings
    assert [each.judge for each in rankings] == ["checks", "panel", "main", "main"]
    assert [each.run for each in rankings] == [None, "demo", "demo", "demo"]
    assert [each.step for each in rankings] == [None, 2, 1, 1]
    assert (second.prompt_id, second.group_id) == ("p2", "step-1/prompt-2")
    assert first.ids == ["t0", "t1", "t2"]
    assert first.cost_usd is not None
    assert first.cost_usd > 0
    assert first.tokens > 0
    for ranking in rankings:
        detail = details[ranking.id]
        assert detail is not None
        assert detail.ranking is not None
        assert [each.reward for each in detail.ranking.results] == ranking.rewards
        assert detail.request is None
    assert details[first.id].metadata == {"run": "demo", "step": 1, "note": "first"}  # type: ignore[union-attr]
    assert [len(calls[each.group_id] or []) for each in rankings] == [0, 3, 2, 2]
    assert (calls[first.group_id] or [])[0].messages[1]["content"].count("five five")


async def test_old_rankings_are_found_by_run_and_are_not_paid_again(old_url: str) -> None:
    async with open_store(old_url) as store:
        reader = HistoryReader(store)
        found = await reader.list_rankings(RankingFilters(run="demo", step=1))
        assert len(found.rankings) == 2
        run = await reader.read_run("demo")
        assert run is not None
        assert [(step.step, step.groups, step.with_signal) for step in run.steps] == [
            (1, 2, 1.0), (2, 1, 1.0),
        ]  # fmt: skip
        detail = await reader.read_ranking(found.rankings[0].id)
        assert detail is not None
        stored = await store.read_ranking(found.rankings[0].id)
        assert stored is not None
        async with store.claim(stored["key"]) as verdicts:
            assert verdicts.complete


async def test_calls_of_an_old_store_are_in_its_sums(old_url: str) -> None:
    async with open_store(old_url) as store:
        report = await read_spend(store, ["judge", "key", "run"])
        [(cost_usd,)] = await store.select(sa.select(sa.func.sum(ASKS.c.cost_usd)))
        [key] = await list_keys(store)
    assert sum(row.calls for row in report.rows) == 7
    assert {row.judge for row in report.rows} == {"main", "other"}
    assert {(row.key_id, row.run) for row in report.rows} == {(None, None)}
    assert report.total.cost_usd == pytest.approx(cost_usd)
    assert (key.owner, key.expires_at) == ("", None)


async def test_people_may_speak_about_an_old_store(old_url: str) -> None:
    async with open_store(old_url) as store:
        [newest, *_] = (await HistoryReader(store).list_rankings()).rankings
        await Notes(store).add(newest.id, "From before.", Person())
        assert [each.text for each in await Notes(store).list_of(newest.id)] == ["From before."]
        assert await GoldOrders(store).list_newest(10) == []
        rows = await store.select(sa.select(ASKS.c.again_of, ASKS.c.flip_order))
    assert {tuple(row) for row in rows} == {(None, False)}


async def test_a_migrated_store_is_as_a_new_one(old_url: str) -> None:
    open_database(old_url).close()
    with engine_at(old_url) as engine, engine.connect() as connection:
        assert read_version(connection) == SCHEMA_VERSION
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


async def test_several_processes_open_an_old_store_at_once(old_url: str) -> None:
    databases = await asyncio.gather(*(asyncio.to_thread(open_database, old_url) for _ in range(4)))
    for database in databases:
        database.close()
    assert count_all(old_url)["asks"] == 4


async def test_a_store_of_a_later_version_is_refused(url: str) -> None:
    open_database(url).close()
    execute(url, sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="tables of version 9999"):
        open_database(url)


def test_the_version_of_the_tables_is_that_of_the_last_migration() -> None:
    config = Config()
    [folder] = migrations.__path__
    config.set_main_option("script_location", folder)
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]
