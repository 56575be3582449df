"""`GET /spend`: what judges cost, whether a key's spending is limited or not."""

import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.schemas import SpendReport
from podium_service.store.quotas.spend import SpendLimit
from tests.fakes import ScriptedJudge, Step, by_length, fails, hangs, says, scores, until
from tests.service.helpers import add_new_key, client, group, llm, service
from tests.service.process import running_with

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)
# A call has 100 tokens, 40 of them cached, and 10 tokens of reply: 60 + 20 + 20 micro-dollars.
PRICE = {"prompt": 1.0, "cached": 0.5, "completion": 2.0}
CALL_USD, CALL_TOKENS = 100e-6, 110


@asynccontextmanager
async def judged(
    tmp_path: Path, *steps: Step, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str], dict[str, str]]]:
    """Yield a client with an admin's key, and the headers of a free and of a limited key."""
    async with (
        ScriptedJudge(list(steps)).serving() as judge,
        service(
            tmp_path,
            main=llm(judge.url, passes=1, price=PRICE, **settings),
            other=llm(judge.url, passes=1, model="another"),
            panel={"kind": "jury", "members": ["main", "other"]},
        ) as opened,
        client(opened, api_keys=["environment"]) as http,
    ):
        _, free = await add_new_key(opened.store, "rank", owner="Ada")
        _, limited = await add_new_key(opened.store, "rank", spend_limit=SpendLimit(usd=1.0))
        http.headers["Authorization"] = "Bearer environment"
        yield http, free, limited


async def spend(http: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    answer = await http.get(f"/spend?{query}")
    assert answer.status_code == 200, answer.text
    SpendReport.model_validate(answer.json())
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


async def test_keys_without_a_limit_are_counted_exactly(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, GOOD, GOOD) as (http, free, limited):
        demo = {"metadata": {"run": "demo", "step": 1}}
        for headers, text in ((free, "a"), (free, "b"), (limited, "c"), (limited, "a")):
            asked = group(text, f"{text} and longer", **demo)
            assert (await http.post("/rank", json=asked, headers=headers)).is_success
        rows = await spend(http, "by=key")
        by_run = await spend(http, "by=run&by=judge")
    assert [(row["owner"], row["calls"]) for row in rows] == [("Ada", 2), (None, 1)]
    assert rows[0]["cost_usd"] == pytest.approx(2 * CALL_USD)
    assert by_run == [
        {"run": "demo", "judge": "main", "calls": 3, "tokens": 3 * CALL_TOKENS,
         "cost_usd": pytest.approx(3 * CALL_USD)},
    ]  # fmt: skip


async def test_calls_of_groups_that_failed_count(tmp_path: Path) -> None:
    async with judged(tmp_path, says("no verdict"), says("again no verdict")) as (http, free, _):
        answer = await http.post("/rank", json=group("a", "b and longer"), headers=free)
        assert answer.json()["code"] == "verdict_invalid"
        [row] = await spend(http, "by=key")
    assert (row["calls"], row["cost_usd"]) == (2, pytest.approx(2 * CALL_USD))


async def test_a_jury_is_counted_juror_by_juror(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, GOOD) as (http, free, _):
        asked = group("a", "b and longer", judge="panel")
        assert (await http.post("/rank", json=asked, headers=free)).is_success
        rows = await spend(http, "by=judge")
    assert {(row["judge"], row["calls"]) for row in rows} == {("main", 1), ("other", 1)}


async def test_calls_of_a_caller_who_left_count(tmp_path: Path) -> None:
    settings = llm("", passes=2, price=PRICE)
    async with ScriptedJudge([GOOD, hangs]).serving() as judge:
        settings["base_urls"] = [judge.url]
        async with running_with(tmp_path, main=settings) as (http, _):
            with pytest.raises(httpx.ReadTimeout):
                await http.post("/rank", json=group("a", "b and longer"), timeout=1.0)

            async def is_counted() -> bool:
                return [row["calls"] for row in await spend(http, "by=day")] == [1]

            await until(is_counted)


async def test_csv_has_a_line_for_each_row(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD) as (http, free, _):
        await http.post("/rank", json=group("a", "b and longer"), headers=free)
        answer = await http.get("/spend?by=key&by=judge&format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    [row] = csv.DictReader(answer.text.splitlines())
    assert list(row) == ["key_id", "key", "owner", "judge", "calls", "tokens", "cost_usd"]
    assert (row["key"], row["owner"], row["judge"], row["calls"]) == ("trainer", "Ada", "main", "1")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=week", "by.0"),
        ("by=", "by.0"),
        ("since=yesterday", "since"),
        ("until=2027-02-30", "until"),
        ("format=xml", "format"),
        ("limit=5", "limit"),
    ],
)
async def test_a_bad_query_is_named(query: str, field: str, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"/spend?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == field


async def test_nothing_spent_is_an_empty_report(http: httpx.AsyncClient) -> None:
    assert (await http.get("/spend?since=2026-01-01&until=2026-01-31")).json() == {
        "by": ["key"], "since": "2026-01-01", "until": "2026-01-31", "rows": [],
        "total": {"calls": 0, "tokens": 0, "cost_usd": None}, "is_cut": False,
    }  # fmt: skip


async def test_a_judge_without_a_price_has_no_cost(tmp_path: Path) -> None:
    async with judged(tmp_path, fails(503), GOOD) as (http, free, _):
        asked = group("a", "b and longer", judge="other")
        assert (await http.post("/rank", json=asked, headers=free)).is_success
        [row] = await spend(http, "by=judge")
    # Only the call that was answered counts.
    assert row == {"judge": "other", "calls": 1, "tokens": CALL_TOKENS, "cost_usd": None}
