"""The ledger: every paid call counts once, whoever paid it and whatever became of its group."""

from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from podium_service.schemas import Usage
from podium_service.schemas.spend import SpendBy, SpendReport
from podium_service.store.call_records import call_rows
from podium_service.store.database.tables import CALLS, LEDGER
from podium_service.store.history.spend import read_spend, to_csv
from podium_service.store.quotas.ledger import Ledger
from podium_service.store.quotas.payer import NOBODY, Payer
from podium_service.store.store import SQLStore, open_store
from tests.service.helpers import add_new_key, call
from tests.service.store.helpers import KEY

pytestmark = pytest.mark.anyio
PAID = Usage(calls=1, prompt_tokens=100, completion_tokens=10, cost_usd=0.25)
UNPRICED = Usage(calls=1, prompt_tokens=7, completion_tokens=1)


def add(store: SQLStore, judge: str, usage: Usage, payer: Payer = NOBODY) -> None:
    store.add_call(KEY, 0, judge, call("x"), usage, payer)


async def fill(store: SQLStore) -> str:
    """Pay for some calls, and return the id of the key that paid for half of them."""
    key, _ = await add_new_key(store, "rank")
    for run in ("demo", "demo", "=other"):
        add(store, "main", PAID, Payer(key.id, run))
    add(store, "cheap", UNPRICED, Payer(key.id, "demo"))
    add(store, "main", PAID)
    add(store, "cheap", UNPRICED)
    add(store, "main", Usage(), Payer(key.id))  # an answer that another group paid for
    await store.flush()
    return key.id


def rows_of(report: SpendReport) -> list[dict[str, Any]]:
    return [row.model_dump(exclude_unset=True) for row in report.rows]


async def test_spending_is_told_by_key_judge_run_and_day(url: str) -> None:
    async with open_store(url) as store:
        key_id = await fill(store)
        reports = {by: await read_spend(store, [by]) for by in ("key", "judge", "run", "day")}
        both = await read_spend(store, ["judge", "run"])
        [day] = {row["day"] for row in rows_of(reports["day"])}
        before = await read_spend(store, until=date(2026, 1, 1))
        now = await read_spend(store, since=date.fromisoformat(day), until=date.fromisoformat(day))
    assert rows_of(reports["key"]) == [
        {"key_id": key_id, "key": "trainer", "owner": None,
         "calls": 4, "tokens": 338, "cost_usd": 0.75},
        {"key_id": None, "key": None, "owner": None, "calls": 2, "tokens": 118, "cost_usd": 0.25},
    ]  # fmt: skip
    assert rows_of(reports["judge"]) == [
        {"judge": "main", "calls": 4, "tokens": 440, "cost_usd": 1.0},
        {"judge": "cheap", "calls": 2, "tokens": 16, "cost_usd": None},
    ]
    assert [(row["run"], row["cost_usd"]) for row in rows_of(reports["run"])] == [
        ("demo", 0.5), (None, 0.25), ("=other", 0.25),
    ]  # fmt: skip
    assert rows_of(reports["day"]) == [
        {"day": day, "calls": 6, "tokens": 456, "cost_usd": 1.0},
    ]
    assert len(both.rows) == 5
    for report in (*reports.values(), both, now):
        assert report.total.model_dump() == {"calls": 6, "tokens": 456, "cost_usd": 1.0}
    assert (before.rows, before.total.calls, before.total.cost_usd) == ([], 0, None)


async def test_a_commit_that_is_repeated_counts_once(url: str) -> None:
    async with open_store(url) as store:
        ledger = Ledger(store._database)
        rows = call_rows(KEY, 0, "main", call("x"), PAID)
        more = call_rows(KEY, 1, "main", call("x"), PAID)

        def commit(calls: list[dict[str, Any]]) -> Any:
            def work(connection: sa.Connection) -> None:
                new = ledger.select_new(connection, calls)
                store._database.insert(connection, {CALLS: calls})
                ledger.add_calls(connection, new)

            return store.run_in_transaction(work)

        await commit(rows[CALLS])
        await commit(rows[CALLS] + more[CALLS])
        assert (await read_spend(store)).total.cost_usd == 0.5


async def test_sums_stay_when_the_calls_are_pruned(url: str) -> None:
    async with open_store(url) as store:
        await fill(store)
        await store.prune(older_than_s=-60)
        assert await store.select(sa.select(CALLS.c.id)) == []
        assert (await read_spend(store)).total.calls == 6


async def test_csv_has_names_that_no_spreadsheet_computes(url: str) -> None:
    by: list[SpendBy] = ["run", "judge"]
    async with open_store(url) as store:
        await fill(store)
        text = to_csv(await read_spend(store, by))
    assert text == (
        "run,judge,calls,tokens,cost_usd\n"
        "demo,main,2,220,0.5\n"
        ",main,1,110,0.25\n"
        "'=other,main,1,110,0.25\n"
        ",cheap,1,8,\n"
        "demo,cheap,1,8,\n"
    )


async def test_two_stores_add_to_the_same_sums(url: str) -> None:
    async with open_store(url) as one, open_store(url) as other:
        for _ in range(20):
            for store in (one, other):
                for judge in ("a", "b", "c"):
                    add(store, judge, PAID)
        await one.flush()
        await other.flush()
        report = await read_spend(one, ["judge"])
        rows = await one.select(sa.select(LEDGER))
    assert [row.calls for row in report.rows] == [40, 40, 40]
    assert len(rows) == 3
