"""Quotas over two services on one database: what passes, what is refused and what is settled."""

import asyncio
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from podium_service.errors import StoreUnavailable
from podium_service.store.database.tables import BUCKETS, WINDOWS
from podium_service.store.quotas.quota_service import AccountSpending
from podium_service.store.quotas.rules import Bucket, Window
from podium_service.store.quotas.spend import SpendAccount
from podium_service.store.store import open_store
from tests.fakes import until

pytestmark = pytest.mark.anyio

NOON = 1_800_000_000.0  # 2027-01-15, 08:00 UTC


async def test_prune_deletes_ended_quotas_and_no_others(url: str) -> None:
    now, day_s = time.time() + 60, 86_400.0  # as if a midnight during the test were over
    aged = {f"{days}d": now - days * day_s for days in (0, 0.9, 2, 9)}
    opened = [asdict(Window(name, at, 1)) for name, at in aged.items()]
    filled = [asdict(Bucket(name, -5.0, at)) for name, at in aged.items()]
    owing = asdict(Bucket("owing", -1e6, aged["9d"]))
    key, judge, forever = (
        SpendAccount("key:a", 1, "day"),
        SpendAccount("judge:m", 1, "month"),
        SpendAccount("j", 1, "total"),
    )
    async with open_store(url) as store:
        await store.run_in_transaction(lambda it: it.execute(sa.insert(WINDOWS), opened) and None)
        await store.run_in_transaction(
            lambda it: it.execute(sa.insert(BUCKETS), [*filled, owing]) and None
        )
        for days in (0, 1.0, 9, 70):
            at = now - days * day_s
            accounts = [key, forever] if 0 < days < 31 else [key, judge, forever]
            assert await store.quotas.reserve(accounts, 0.1, at=at) is None
        assert await store.quotas.prune(5 * day_s) == {"windows": 1, "buckets": 1, "spending": 3}
        assert await store.quotas.prune(0) == {"windows": 1, "buckets": 1, "spending": 0}
        left = await store.run_in_transaction(
            lambda it: [set(it.scalars(sa.select(table.c.name))) for table in (WINDOWS, BUCKETS)]
        )
        assert left == [{"0d", "0.9d"}, {"0d", "0.9d", "owing"}]
        spending = await store.quotas.read_spending([key, judge, forever], at=now)
        assert spending[forever].reserved == 0.4
        assert spending[key].reserved == 0.1


async def test_30_of_100_simultaneous_requests_pass_a_limit_of_30(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        services = [one.quotas, other.quotas]
        waits = await asyncio.gather(*(services[i % 2].count("k", 30) for i in range(100)))
        assert waits.count(0.0) == 30
        assert all(50 < wait_s <= 60 for wait_s in waits if wait_s)
        assert await one.quotas.count("l", 30) == 0.0


async def test_services_share_buckets_and_tell_how_long_to_wait(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        services = [one.quotas, other.quotas]
        # The bucket holds 1, and .1 flows in within 100 s.
        waits = await asyncio.gather(*(services[i % 2].take("e", 0.06, 0.1) for i in range(14)))
        assert waits.count(0.0) == 10
        assert all(0 < wait_s <= 400 for wait_s in waits if wait_s)
        one.quotas.give_back("e", 0.06, 0.4 + 0.3)
        assert await one.quotas.take("e", 0.06, 0.3) == 0.0
        assert await other.quotas.take("e", 0.06, 0.1) > 0


async def test_simultaneous_reservations_never_exceed_a_limit(url: str) -> None:
    key, judge = SpendAccount("key:a", 1.0, "day"), SpendAccount("judge:m", 0.5, "total")
    async with open_store(url) as one, open_store(url) as other:
        services = [one.quotas, other.quotas]
        refused = await asyncio.gather(
            *(services[i % 2].reserve([key, judge], 0.03, at=NOON) for i in range(60))
        )
        assert refused.count(None) == 16
        assert refused.count(judge) == 44
        spending = await other.quotas.read_spending([key, judge], at=NOON)
        assert spending == {key: AccountSpending(0.0, 0.48), judge: AccountSpending(0.0, 0.48)}
        for _ in range(16):
            one.quotas.settle([key, judge], 0.03, 0.01, at=NOON)
        # The reservation comes after the settlements in the queue.
        assert await one.quotas.reserve([key, judge], 0.34, at=NOON) is None
        assert await one.quotas.reserve([key, judge], 0.0001, at=NOON) == judge
        spending = await other.quotas.read_spending([key, judge], at=NOON)
        assert spending[key] == AccountSpending(0.16, 0.34)


async def test_a_reservation_outlives_its_process_to_the_periods_end(url: str) -> None:
    key = SpendAccount("key:a", 1.0, "day")
    async with open_store(url) as store:
        assert await store.quotas.reserve([key], 0.9, at=NOON) is None
    async with open_store(url) as store:
        assert await store.quotas.reserve([key], 0.2, at=NOON) == key
        assert await store.quotas.reserve([key], 0.2, at=NOON + 86_400) is None


async def test_closing_the_store_waits_for_settlements(url: str) -> None:
    key = SpendAccount("key:a", 1.0, "month")
    async with open_store(url) as store:
        assert await store.quotas.reserve([key], 0.9, at=NOON) is None
        store.quotas.settle([key], 0.9, 0.1, at=NOON)
    async with open_store(url) as store:
        assert (await store.quotas.read_spending([key], at=NOON))[key] == AccountSpending(0.1, 0.0)


async def test_a_settlement_is_tried_again_after_an_outage(tmp_path: Path) -> None:
    path, key = tmp_path / "podium.db", SpendAccount("key:a", 1.0, "total")
    async with open_store(str(path)) as store:
        assert await store.quotas.reserve([key], 0.9, at=NOON) is None
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE spending RENAME TO hidden")
        store.quotas.settle([key], 0.9, 0.1, at=NOON)
        with pytest.raises(StoreUnavailable, match="no such table: spending"):
            await store.quotas.reserve([key], 0.1, at=NOON)
        database.execute("ALTER TABLE hidden RENAME TO spending")
        database.close()
    async with open_store(str(path)) as store:
        assert (await store.quotas.read_spending([key], at=NOON))[key] == AccountSpending(0.1, 0.0)


async def test_an_amount_too_large_for_its_row_fails_alone(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    absurd, key = SpendAccount("judge:absurd", 1.0, "total"), SpendAccount("key:a", 1.0, "total")
    async with open_store(url) as store:
        quotas = store.quotas
        assert await quotas.reserve([absurd], 0.1, at=NOON) is None
        quotas.settle([absurd], 0.1, 1.8e13, at=NOON)
        beside = await asyncio.gather(
            *(quotas.reserve([key], 0.3, at=NOON) for _ in range(5)),
            *(quotas.count("k", 3) for _ in range(5)),
            quotas.reserve([absurd], 0.1, at=NOON),
        )
        assert beside[:5] == [None, None, None, key, key]
        assert beside[5:8] == [0.0, 0.0, 0.0]
        assert all(beside[8:10])
        assert beside[10] is None
        spending = await quotas.read_spending([absurd, key], at=NOON)
        assert spending[absurd] == AccountSpending(0.0, 0.2)  # it stays reserved
        assert spending[key] == AccountSpending(0.0, 0.9)
        assert not quotas._retries
    assert "spending_stays_reserved" in capsys.readouterr().out


async def test_a_cancelled_caller_keeps_no_reservation_and_no_tokens(url: str) -> None:
    async with open_store(url) as store:
        for turns in range(4):  # of the event loop: not started, queued, sent to the database
            bucket, key = f"e{turns}", SpendAccount(f"key:{turns}", 1.0, "total")
            leaving = [
                asyncio.create_task(store.quotas.reserve([key], 0.5, at=NOON)),
                asyncio.create_task(store.quotas.take(bucket, 60, 10)),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            assert all(task.cancel() for task in leaving)
            await asyncio.gather(*leaving, return_exceptions=True)

            async def given_back(bucket: str = bucket) -> bool:
                wait_s = await store.quotas.take(bucket, 60, 5)
                if wait_s:
                    store.quotas.give_back(bucket, 60, 5)
                return wait_s == 0.0

            await until(given_back)
            assert await store.quotas.reserve([key], 1.0, at=time.time()) is None
