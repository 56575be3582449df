"""Claims as rows: which heartbeats expire the claims of other processes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from podium_service.store.claims.claim_rows import ClaimRows
from podium_service.store.database.tables import CLAIMS, OWNERS
from podium_service.store.migrations.schema import open_database
from podium_service.store.store import open_store
from tests.fakes import until
from tests.service.store.helpers import KEY, OTHER_KEY, count_rows, execute

pytestmark = pytest.mark.anyio


async def test_claims_of_a_dead_process_expire_and_of_a_living_do_not(url: str) -> None:
    async with (
        open_store(url, heartbeat_s=0.05, expire_after_s=1.2) as one,
        open_store(url, heartbeat_s=0.05, expire_after_s=1.2) as other,
    ):
        execute(
            url,
            sa.insert(OWNERS).values(id="dead", seen_at=0.0),
            sa.insert(CLAIMS).values(key=KEY, owner="dead"),
        )
        async with one.claim(OTHER_KEY):
            async with other.claim(KEY):
                assert await count_rows(url, OWNERS) == 2
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.8), other.claim(OTHER_KEY):
                    pass
        async with other.claim(OTHER_KEY):
            assert await count_rows(url, CLAIMS) == 1
    assert await count_rows(url, OWNERS) == 0
    assert await count_rows(url, CLAIMS) == 0


async def test_no_claim_expires_after_an_outage_of_the_store(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    async with (
        open_store(path, heartbeat_s=0.05, expire_after_s=1.2) as one,
        open_store(path, heartbeat_s=0.05, expire_after_s=1.2) as other,
        one.claim(KEY),
        other.claim(OTHER_KEY),
    ):
        await asyncio.sleep(1.5)  # both have recorded heartbeats, and may expire claims
        locker = sqlite3.connect(path, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        await asyncio.sleep(1.5)
        locker.close()
        await asyncio.sleep(0.5)
        assert await count_rows(path, CLAIMS) == 2


async def test_a_process_that_was_cut_off_expires_no_claim_at_once(url: str) -> None:
    database = open_database(url)
    one, other = ClaimRows(database), ClaimRows(database)

    def other_has_expired() -> bool:
        one.heartbeat([], 0.5)
        return one.find_claimed(["one", "other"]) == {"one"}

    for key, each in (("one", one), ("other", other)):
        each.claim([key])
    await until(other_has_expired)
    other.heartbeat([], 0.5)
    other.claim(["other"])
    await asyncio.sleep(0.6)
    one.heartbeat([], 0.5)
    assert one.find_claimed(["one", "other"]) == {"one", "other"}
    await until(other_has_expired)
    database.close()


async def test_an_expired_process_is_back_with_its_next_claim(url: str) -> None:
    async with open_store(url, heartbeat_s=3600.0) as store, store.claim(KEY):
        execute(url, sa.delete(OWNERS))
        async with store.claim(OTHER_KEY):
            assert await count_rows(url, OWNERS) == 1
