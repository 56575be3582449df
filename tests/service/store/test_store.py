"""The store, in SQLite and in PostgreSQL: what was added is read back, whatever interrupts it."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from podium_service.errors import ConfigError, StoreUnavailable
from podium_service.schemas import Ranking, Usage
from podium_service.store.quotas.spend import SpendAccount
from podium_service.store.store import SQLStore, open_store
from tests.service.helpers import LONG, VERDICT, call
from tests.service.store.helpers import KEY, OTHER_KEY, add_call, ask, ranking, read_verdicts

pytestmark = pytest.mark.anyio


async def test_verdicts_are_read_by_pass_and_faults_are_not(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(verdict=None, fault="no JSON \ud83d"), Usage(calls=1))
        store.add_call(KEY, 1, "main", call(), Usage(calls=1))
        await store.add_ranking(ask(KEY))
        assert (await read_verdicts(store, KEY)).verdicts == {1: VERDICT}
        assert (await read_verdicts(store, OTHER_KEY)).verdicts == {}


async def test_a_ranking_replays_with_exact_prompts_and_replies(url: str) -> None:
    async with open_store(url) as store:
        store.add_call(KEY, 0, "main", call(verdict=None, fault="no JSON"), Usage(calls=1))
        store.add_call(KEY, 0, "main", call(), Usage(calls=1, cost_usd=0.25))
        await store.add_ranking(ask(KEY))
    async with open_store(url) as store:
        stored = await store.read_ranking("rk_1")
        assert stored is not None
        assert Ranking.model_validate(stored["answer"]) == ranking()
        first, second = await store.read_calls(stored["key"])
    assert (first["fault"], first["verdict"]) == ("no JSON", None)
    assert second["verdict"]["scores"] == [0.9, 0.1]
    assert second["messages"] == [
        {"role": "system", "content": "Be fair."},
        {"role": "user", "content": f"Here: {LONG}"},
    ]
    assert second["reply"] == '{"BCD": ?'  # half of a surrogate pair cannot be stored
    assert second["model"] == "m"
    assert second["usage"]["cost_usd"] == 0.25


async def test_the_first_answer_under_an_id_stays(url: str) -> None:
    async with open_store(url) as store:
        await store.add_ranking(ask(KEY, ranking(group_id="first")))
        await store.add_ranking(ask(KEY, ranking(group_id="second")))
        stored = await store.read_ranking("rk_1")
        assert stored is not None
        assert stored["answer"]["group_id"] == "first"
        assert await store.read_ranking("rk_2") is None


async def test_200_groups_at_once_are_all_stored(url: str) -> None:
    async with open_store(url) as store:

        async def rank(index: int) -> None:
            key = f"{index:064d}"
            add_call(store, key, 0, f"{LONG}{index % 7}")
            await store.add_ranking(ask(key, ranking(f"rk_{index}")))

        await asyncio.gather(*(rank(index) for index in range(200)))
    async with open_store(url) as store:
        for index in (0, 99, 199):
            assert await store.read_ranking(f"rk_{index}")
            assert (await read_verdicts(store, f"{index:064d}")).verdicts == {0: VERDICT}


async def test_two_services_share_one_database(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        add_call(one)
        await one.add_ranking(ask(KEY))
        assert (await read_verdicts(other, KEY)).verdicts == {0: VERDICT}
        await other.add_ranking(ask(KEY, ranking("rk_2")))
        assert await one.read_ranking("rk_2")


@pytest.mark.parametrize(
    "url", ["/nowhere/podium.db", "sqlite:////nowhere/x.db", "mysql://u:s@h/x"]
)
async def test_a_store_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_store(url):
            pass
    assert "\n" not in str(caught.value)
    assert "u:s@" not in str(caught.value)


async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        opened: SQLStore = store
    with pytest.raises(StoreUnavailable, match="closed"):
        await opened.add_ranking(ask(KEY))


async def test_a_store_writes_all_though_its_closing_is_cancelled(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    account = SpendAccount("key:a", 1.0, "day")
    locker = sqlite3.connect(path, isolation_level=None)
    opened = asyncio.Event()

    async def serve() -> None:
        async with open_store(path) as store:
            store.quotas.settle([account], 0.0, 0.1, at=time.time())
            locker.execute("BEGIN IMMEDIATE")
            add_call(store)
            opened.set()

    serving = asyncio.create_task(serve())
    await opened.wait()
    await asyncio.sleep(0)  # it closes now, and waits for the settlement
    serving.cancel()
    await asyncio.sleep(0)
    locker.close()
    with pytest.raises(asyncio.CancelledError):
        await serving
    async with open_store(path) as store:
        assert (await read_verdicts(store, KEY)).verdicts == {0: VERDICT}
