"""The cache of API keys: which texts it accepts, and what happens without the store."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from podium_service.errors import StoreUnavailable, Unauthorized
from podium_service.http.access.api_key import UNRESTRICTED
from podium_service.http.access.api_key_cache import APIKeyCache
from podium_service.http.access.api_key_store import list_keys, revoke_key
from podium_service.store.database.tables import API_KEYS
from podium_service.store.store import SQLStore, open_store
from tests.fakes import until
from tests.service.helpers import add_new_key, client_with_key

pytestmark = pytest.mark.anyio


async def test_keys_stay_required_after_the_last_one_is_revoked(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with open_store(str(tmp_path / "podium.db")) as store:
        api_keys = APIKeyCache(store, clock=lambda: now)
        assert await api_keys.authenticate("") == UNRESTRICTED
        key, headers = await add_new_key(store, "read")
        now = 2.0
        with pytest.raises(Unauthorized):
            await api_keys.authenticate("")
        assert await api_keys.authenticate(headers["Authorization"]) == key
        await revoke_key(store, key.id)
        now = 4.0
        for authorization in ("", headers["Authorization"]):
            with pytest.raises(Unauthorized):
                await api_keys.authenticate(authorization)


async def test_only_health_probes_answer_when_all_keys_are_revoked(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin") as (http, opened, key):
        await revoke_key(opened.store, key.id)
        statuses = {
            path: (await http.get(path)).status_code
            for path in (
                "/livez",
                "/readyz",
                "/judges",
                "/metrics",
                "/keys",
                "/openapi.json",
                "/no",
            )
        }
    assert statuses == dict.fromkeys(statuses, 401) | {"/livez": 200, "/readyz": 200}


@pytest.mark.parametrize(
    "change",
    [
        "pk_",
        "pk__",
        "pk_{id}_",
        "pk_{id}_{secret}x",
        "pk_x_{secret}",
        "{id}_{secret}",
        "pk_{id}_{secret}\xa0",
        "pk_{id}_{half}",
    ],
)
async def test_a_changed_or_cut_key_is_refused(change: str, tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        key, headers = await add_new_key(store, "rank")
        api_keys = APIKeyCache(store)
        secret = headers["Authorization"].split("_", 2)[2]
        text = change.format(id=key.id, secret=secret, half=secret[:20])
        with pytest.raises(Unauthorized):
            await api_keys.authenticate(f"Bearer {text}")
        assert await api_keys.authenticate(headers["Authorization"]) == key


class CountedStore(SQLStore):
    """Counts reads, which fail while `down` is set and wait for `frozen`."""

    reads = 0
    down = False
    frozen: asyncio.Event | None = None

    async def select(self, query: Any) -> Any:
        self.reads += 1
        if self.frozen:
            await self.frozen.wait()
        if self.down:
            raise StoreUnavailable("down")
        return await super().select(query)


@asynccontextmanager
async def open_counted_store(tmp_path: Path) -> AsyncIterator[CountedStore]:
    async with open_store(str(tmp_path / "podium.db")) as store:
        store.__class__ = CountedStore
        assert isinstance(store, CountedStore)
        yield store


async def test_many_requests_share_one_read_of_the_keys(tmp_path: Path) -> None:
    now = 0.0
    async with open_counted_store(tmp_path) as store:
        key, headers = await add_new_key(store, "rank")
        api_keys = APIKeyCache(store, clock=lambda: now)
        store.reads = 0
        known = headers["Authorization"]
        assert {await api_keys.authenticate(known) for _ in range(50)} == {key}
        assert store.reads == 1
        now = 1.9
        await api_keys.authenticate(known)
        assert store.reads == 1
        now = 2.1
        await asyncio.gather(*(api_keys.authenticate(known) for _ in range(50)))
        assert store.reads == 2


async def test_keys_stay_required_after_the_store_lost_them(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with open_counted_store(tmp_path) as store:
        api_keys = APIKeyCache(store, clock=lambda: now)
        assert await api_keys.authenticate("") == UNRESTRICTED
        _, headers = await add_new_key(store, "rank")
        now = 3.0
        await api_keys.authenticate(headers["Authorization"])
        await store.run_in_transaction(lambda it: it.execute(API_KEYS.delete()))
        now = 6.0
        for shown in ("", headers["Authorization"]):
            with pytest.raises(Unauthorized):
                await api_keys.authenticate(shown)


async def test_keys_are_read_while_another_process_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    async with open_store(path) as store:
        key, _ = await add_new_key(store, "rank")
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(5):  # a writer would wait for ten
            assert await list_keys(store) == [key]
        writer.close()


async def test_a_flood_of_unknown_keys_reads_the_store_twice_a_second(tmp_path: Path) -> None:
    now = 0.0
    async with open_counted_store(tmp_path) as store:
        await add_new_key(store, "rank")
        api_keys = APIKeyCache(store, clock=lambda: now)
        store.reads = 0
        for step in range(1000):
            now = step / 1000
            with pytest.raises(Unauthorized):
                await api_keys.authenticate(f"Bearer pk_{step}_x")
        assert store.reads == 2
        _, headers = await add_new_key(store, "rank")
        now = 1.1
        await api_keys.authenticate(headers["Authorization"])  # after one second instead of two


async def test_the_cache_serves_for_a_minute_without_the_store(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with open_counted_store(tmp_path) as store:
        key, headers = await add_new_key(store, "rank")
        api_keys = APIKeyCache(store, ["environment"], clock=lambda: now)
        assert await api_keys.authenticate(headers["Authorization"]) == key
        store.down = True
        now = 59.0
        assert await api_keys.authenticate(headers["Authorization"]) == key
        now = 62.0
        with pytest.raises(StoreUnavailable):
            await api_keys.authenticate(headers["Authorization"])
        await api_keys.authenticate("Bearer environment")
        store.down = False
        now = 65.0
        assert await api_keys.authenticate(headers["Authorization"]) == key


async def test_only_the_first_request_waits_for_a_frozen_store(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with open_counted_store(tmp_path) as store:
        key, headers = await add_new_key(store, "rank")
        api_keys = APIKeyCache(store, clock=lambda: now)
        known = headers["Authorization"]
        await api_keys.authenticate(known)
        store.reads, store.frozen = 0, asyncio.Event()
        now = 2.5
        first = asyncio.create_task(api_keys.authenticate(known))
        await until(lambda: store.reads == 1)
        now = 3.6
        async with asyncio.timeout(10):  # 50 s if each waited
            assert {await api_keys.authenticate(known) for _ in range(50)} == {key}
        store.frozen.set()
        assert await first == key
