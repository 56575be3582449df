"""Quotas, by hand and over two services on one database: exactly what passes, and what is owed."""

import asyncio
import sqlite3
import time
from dataclasses import asdict
from math import inf
from pathlib import Path

import pytest
import sqlalchemy as sa

from podium_service.errors import StoreUnavailable
from podium_service.store.database.tables import BUCKETS, WINDOWS
from podium_service.store.quotas import rules
from podium_service.store.quotas.quota_service import AccountSpending
from podium_service.store.quotas.rules import Bucket, Spending, Window
from podium_service.store.quotas.spend import SpendAccount
from podium_service.store.store import open_store
from tests.fakes import until

pytestmark = pytest.mark.anyio

NOON = 1_800_000_000.0  # 2027-01-15, 08:00 UTC


def test_a_window_opens_with_its_first_request_and_ends_whole() -> None:
    window, wait_s = rules.count(Window("k"), 2, 60.0, 1000.0)
    assert (window, wait_s) == (Window("k", 1000.0, 1), 0.0)
    window, wait_s = rules.count(window, 2, 60.0, 1030.0)
    assert (window, wait_s) == (Window("k", 1000.0, 2), 0.0)
    assert rules.count(window, 2, 60.0, 1045.0) == (window, 15.0)
    assert rules.count(window, 2, 60.0, 1060.0) == (Window("k", 1060.0, 1), 0.0)
    assert rules.count(window, 2, 60.0, 100.0)[1] == 0.0  # the clock was set back


def test_a_bucket_holds_ten_seconds_and_refills_while_it_is_asked() -> None:
    assert rules.capacity(60) == 10.0
    assert rules.capacity(3) == 1.0
    bucket, wait_s = rules.take(Bucket("e"), 60, 4, 1000.0)
    assert (bucket, wait_s) == (Bucket("e", 6.0, 1000.0), 0.0)
    assert rules.take(bucket, 60, 8, 1001.0) == (Bucket("e", -1.0, 1001.0), 1.0)
    assert rules.take(Bucket("e", -1.0, 1001.0), 60, 3, 1001.0)[1] == 4.0  # after the one before
    assert rules.take(bucket, 60, 8, 1002.0) == (Bucket("e", 0.0, 1002.0), 0.0)
    assert rules.give_back(bucket, 60, 100, 1000.0).level == 10.0


def test_an_amount_larger_than_the_bucket_takes_it_whole_and_owes_the_rest() -> None:
    bucket, wait_s = rules.take(Bucket("e"), 60, 25, 1000.0)
    assert (bucket.level, wait_s) == (-15.0, 0.0)
    assert rules.take(bucket, 60, 1, 1014.0)[1] == 2.0
    assert rules.take(bucket, 60, 1, 1016.0)[1] == 0.0


def test_money_is_whole_micro_dollars_rounded_up_and_fits_to_the_last_one() -> None:
    assert rules.micro_dollars(0.1) == 100_000
    assert rules.micro_dollars(0.0000001) == 1
    full = rules.reserve(Spending("k", 0, 900_000), 1.0, 100_000)
    assert full == Spending("k", 100_000, 900_000)
    assert rules.reserve(full, 1.0, 1) is None
    assert rules.settle(full, 100_000, 40_000) == Spending("k", 0, 940_000)


def test_periods_are_days_and_months_in_utc() -> None:
    names = [rules.period_name("key:a", per, NOON) for per in ("day", "month", "total")]
    assert names == ["key:a 2027-01-15", "key:a 2027-01", "key:a total"]
    midnight = NOON + 16 * 3600
    assert rules.period_name("key:a", "day", midnight - 1e-3) == "key:a 2027-01-15"
    assert rules.period_name("key:a", "day", midnight) == "key:a 2027-01-16"


def test_a_period_ends_when_the_next_one_begins() -> None:
    for day in range(0, 800, 7):
        at = NOON + 86_400 * day
        for per in ("day", "month"):
            name = rules.period_name("key:a b", per, at)
            end = rules.period_end(name)
            assert end > at
            assert rules.period_name("key:a b", per, end - 1e-3) == name
            assert rules.period_name("key:a b", per, end) != name
    assert rules.period_end("key:a total") == inf


async def test_prune_deletes_quotas_that_are_over_and_none_that_may_still_count(url: str) -> None:
    now, day_s = time.time() + 60, 86_400.0  # a midnight that comes meanwhile has come
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
            holds = [key, forever] if 0 < days < 31 else [key, judge, forever]
            assert await store.quotas.reserve(holds, 0.1, at=at) is None
        assert await store.quotas.prune(5 * day_s) == {"windows": 1, "buckets": 1, "spending": 3}
        assert await store.quotas.prune(0) == {"windows": 1, "buckets": 1, "spending": 0}
        left = await store.run_in_transaction(
            lambda it: [set(it.scalars(sa.select(table.c.name))) for table in (WINDOWS, BUCKETS)]
        )
        assert left == [{"0d", "0.9d"}, {"0d", "0.9d", "owing"}]
        spent = await store.quotas.read_spending([key, judge, forever], at=now)
        assert spent[forever].reserved == 0.4
        assert spent[key].reserved == 0.1


async def test_of_100_at_once_over_two_services_exactly_so_many_pass_as_may(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        quota_services = [one.quotas, other.quotas]
        waits = await asyncio.gather(*(quota_services[i % 2].count("k", 30) for i in range(100)))
        assert waits.count(0.0) == 30
        assert all(50 < wait_s <= 60 for wait_s in waits if wait_s)
        assert await one.quotas.count("l", 30) == 0.0


async def test_buckets_are_shared_and_who_waits_is_told_when_its_turn_may_come(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        quota_services = [one.quotas, other.quotas]
        # Of a bucket that holds 1, into which .1 flows in 100 s.
        waits = await asyncio.gather(
            *(quota_services[i % 2].take("e", 0.06, 0.1) for i in range(14))
        )
        assert waits.count(0.0) == 10
        assert all(0 < wait_s <= 400 for wait_s in waits if wait_s)
        one.quotas.give_back("e", 0.06, 0.4 + 0.3)
        assert await one.quotas.take("e", 0.06, 0.3) == 0.0
        assert await other.quotas.take("e", 0.06, 0.1) > 0


async def test_concurrent_reservations_never_pass_a_limit_and_take_all_accounts_or_none(
    url: str,
) -> None:
    key, judge = SpendAccount("key:a", 1.0, "day"), SpendAccount("judge:m", 0.5, "total")
    async with open_store(url) as one, open_store(url) as other:
        quota_services = [one.quotas, other.quotas]
        refused = await asyncio.gather(
            *(quota_services[i % 2].reserve([key, judge], 0.03, at=NOON) for i in range(60))
        )
        assert refused.count(None) == 16
        assert refused.count(judge) == 44
        held = await other.quotas.read_spending([key, judge], at=NOON)
        assert held == {key: AccountSpending(0.0, 0.48), judge: AccountSpending(0.0, 0.48)}
        for _ in range(16):
            one.quotas.settle([key, judge], 0.03, 0.01, at=NOON)
        assert await one.quotas.reserve([key, judge], 0.34, at=NOON) is None  # queued behind
        assert await one.quotas.reserve([key, judge], 0.0001, at=NOON) == judge
        spent = await other.quotas.read_spending([key, judge], at=NOON)
        assert spent[key] == AccountSpending(0.16, 0.34)


async def test_a_killed_process_leaves_reserved_what_may_have_been_paid_until_the_period_ends(
    url: str,
) -> None:
    key = SpendAccount("key:a", 1.0, "day")
    async with open_store(url) as store:
        assert await store.quotas.reserve([key], 0.9, at=NOON) is None
    async with open_store(url) as store:
        assert await store.quotas.reserve([key], 0.2, at=NOON) == key
        assert await store.quotas.reserve([key], 0.2, at=NOON + 86_400) is None


async def test_closing_the_store_waits_for_what_is_to_be_settled(url: str) -> None:
    key = SpendAccount("key:a", 1.0, "month")
    async with open_store(url) as store:
        assert await store.quotas.reserve([key], 0.9, at=NOON) is None
        store.quotas.settle([key], 0.9, 0.1, at=NOON)
    async with open_store(url) as store:
        assert (await store.quotas.read_spending([key], at=NOON))[key] == AccountSpending(0.1, 0.0)


async def test_what_the_store_does_not_take_is_settled_once_it_does(tmp_path: Path) -> None:
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


async def test_an_amount_that_no_row_holds_fails_alone_and_is_not_asked_again(
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
        spent = await quotas.read_spending([absurd, key], at=NOON)
        assert spent[absurd] == AccountSpending(0.0, 0.2)  # it stays reserved
        assert spent[key] == AccountSpending(0.0, 0.9)
        assert not quotas._retries
    assert "spending_stays_reserved" in capsys.readouterr().out


async def test_a_caller_who_leaves_at_any_moment_keeps_no_reservation_and_no_tokens(
    url: str,
) -> None:
    async with open_store(url) as store:
        for turns in range(4):  # of the event loop: not begun, queued, asked of the database
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
