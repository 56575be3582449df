"""Pruning: what is old is deleted, and what a newer call needs stays."""

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa

from podium_service.schemas import Usage
from podium_service.store.asks.ids import ask_name
from podium_service.store.call_records import call_rows, compress_texts
from podium_service.store.database.tables import ASKS, NOTES, TRANSCRIPTS
from podium_service.store.people.gold import GoldOrders
from podium_service.store.people.notes import Notes
from podium_service.store.people.person import Person
from podium_service.store.store import open_store
from tests.fakes import until
from tests.service.helpers import LONG, call
from tests.service.postgres import empty_database
from tests.service.store.helpers import KEY, OTHER_KEY, add_call, ask, ranking, set_age

pytestmark = pytest.mark.anyio


async def test_prune_keeps_the_texts_of_a_newer_call(url: str) -> None:
    async with open_store(url) as store:
        for key in (KEY, OTHER_KEY):
            add_call(store, key, 0, LONG)
            add_call(store, key, 1, LONG + "old")
            await store.add_ranking(ask(key, ranking(f"rk_{key[0]}")))
        boundary = time.time()
        await until(lambda: time.time() > boundary + 0.02)
        add_call(store, OTHER_KEY, 0, LONG)
        await store.add_ranking(ask(OTHER_KEY, ranking("rk_new")))
        assert await store.prune(time.time() - boundary) == {
            "rankings": 3, "past_groups": 0, "calls": 4, "texts": 2, "asks": 2, "notes": 0,
            "gold_sets": 0, "transcripts": 0,
        }  # fmt: skip
        assert await store.read_ranking("rk_a") is None
        [left] = await store.read_calls(OTHER_KEY)
    assert left["messages"][1]["content"] == f"Here: {LONG}"


async def test_prune_keeps_a_group_that_a_person_ordered(url: str) -> None:
    ordered, other = ask(KEY), ask(OTHER_KEY, ranking("rk_2"))
    other.request.task = "Another group."
    async with open_store(url) as store:
        for each in (ordered, other):
            await store.add_ranking(each)
            await Notes(store).add(each.ranking_id, "Why?", Person())
        gold = GoldOrders(store)
        await gold.put(ask_name(ordered.id), [["t1"], ["t0"]], Person(), is_blind=True)
        age = sa.update(TRANSCRIPTS).values(used_at=0.0)
        await store.run_in_transaction(lambda connection: connection.execute(age) and None)
        deleted = await store.prune(-1)
        assert (deleted["asks"], deleted["notes"], deleted["transcripts"]) == (2, 2, 1)
        [left] = await store.select(sa.select(TRANSCRIPTS.c.key))
        [order] = await gold.list_newest(10)
        assert order.transcript == left.key
        for table in (ASKS, NOTES):
            assert not await store.select(sa.select(table.c.id))


@pytest.mark.postgres
async def test_prune_waits_for_a_call_that_needs_texts_of_an_old_one(postgres: str) -> None:
    async with open_store(empty_database(postgres)) as store:
        add_call(store, KEY, 0, LONG)
        await store.flush()
        await set_age(store, KEY, 100.0)
        database = store._database
        new = call_rows(KEY, 1, "main", call(LONG), Usage(calls=1))
        compress_texts(new)
        with database.writing() as connection:
            database.insert(connection, new)
            pruning = asyncio.create_task(store.prune(50.0))
            locks: sa.Select[Any] = sa.select(sa.column("pid")).select_from(sa.table("pg_locks"))

            async def is_waiting() -> bool:
                return any(await store.select(locks.where(sa.text("NOT granted"))))

            await until(is_waiting)
        assert (await pruning)["calls"] == 1
        [left] = await store.read_calls(KEY)
    assert left["messages"][1]["content"] == f"Here: {LONG}"
