"""Everything around the service breaks, and so does the service: nothing paid is lost, nothing told
was not kept."""

import asyncio
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from podium_service.store.store import SQLStore, open_store
from tests.fakes import Asked, ScriptedJudge
from tests.integration.chaos import PASSES, Bill, Life, Load, eventually, rewards, serving
from tests.service.faults import worth
from tests.service.helpers import judges_file, llm
from tests.service.postgres import empty_database, postgres_server, start_with_retries
from tests.service.process import has_ended, wait

pytestmark = [pytest.mark.anyio, pytest.mark.chaos]

KILLING_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with postgres_server(tmp_path_factory) as server:
        yield server


def options(tmp_path: Path, store: str, *judges: ScriptedJudge) -> list[str]:
    settings = llm("", base_urls=[judge.url for judge in judges], passes=PASSES, timeout_s=5)
    config = judges_file(tmp_path / "judges.yaml", main=settings)
    return ["--config", str(config), "--store", store, "--drain-s", "0"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_service_killed_often_loses_no_verdict_that_it_stored(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = str(tmp_path / "podium.db")
    if kind == "postgres":
        store = empty_database(request.getfixturevalue("server").get_uri())
    bill, load, lives, random = Bill(), Load(), list[Life](), Random(5)
    async with ScriptedJudge(always=bill).serving() as judge, AsyncExitStack() as stack:
        command = options(tmp_path, store, judge)
        async with load.coming():
            ends = time.monotonic() + KILLING_S
            while time.monotonic() < ends:
                async with serving(tmp_path, *command) as process:
                    began_at, load.urls = time.monotonic(), [str(process.url)]
                    await asyncio.sleep(random.uniform(2, 3))
                    lives.append(Life(began_at, killed_at=time.monotonic()))
            last = await stack.enter_async_context(serving(tmp_path, *command))
            lives.append(Life(time.monotonic()))
            load.urls = [str(last.url)]
    num_kills = len(lives) - 1
    print(f"{kind}: {load.asked} groups, {num_kills} kills, {bill.told(lives)}; {load.setbacks}")
    bill.assert_nothing_kept_is_paid_again(lives, load)
    if kind == "sqlite":
        assert sqlite3.connect(store).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    await assert_all_kept(store, load)


async def test_two_processes_with_the_same_group_pay_for_it_once(
    tmp_path: Path, server: Any
) -> None:
    store, bill, one, other = empty_database(server.get_uri()), Bill(), Load(), Load()
    async with ScriptedJudge(always=bill).serving() as judge:
        command = options(tmp_path, store, judge)
        async with (
            serving(tmp_path, *command) as first,
            serving(tmp_path, *command) as second,
            one.coming(),
            other.coming(),
        ):
            one.urls, other.urls = [str(first.url)], [str(second.url)]
            await eventually(lambda: min(len(one.told), len(other.told)) >= 100)
    groups = max(one.asked, other.asked)
    assert bill.num_calls == PASSES * groups
    assert not bill.repeated
    for number in one.told.keys() & other.told.keys():
        assert one.told[number]["results"] == other.told[number]["results"]
    print(f"{groups} groups at two processes at once, {bill.num_calls} calls; {one.setbacks}")
    for load in (one, other):
        await assert_all_kept(store, load)


async def test_groups_fail_or_wait_while_postgres_is_away_then_go_on(
    tmp_path: Path, server: Any
) -> None:
    store, bill, load = empty_database(server.get_uri()), Bill(), Load()
    async with ScriptedJudge(always=bill).serving() as judge:
        command = options(tmp_path, store, judge)
        async with serving(tmp_path, *command) as process, load.coming():
            load.urls = [str(process.url)]
            for crash in (False, True, False):
                await load.goes_on()
                await asyncio.to_thread(crashed if crash else type(server).stop, server)
                await asyncio.sleep(3)
                await asyncio.to_thread(start_with_retries, server.ensure_postgres_running)
            await load.goes_on()
    again = sum(len(calls) - 1 for calls in bill.repeated)
    print(
        f"{load.asked} groups, PostgreSQL away three times, {bill.num_calls} calls, {again} of "
        f"them for the second time; {load.setbacks}"
    )
    assert set(load.setbacks) <= {"store_unavailable"}
    await assert_all_kept(store, load)


def crashed(server: Any) -> None:
    """End PostgreSQL without a checkpoint: it recovers from its log."""
    process = server.get_postmaster_info().process
    process.send_signal(signal.SIGQUIT)
    wait(lambda: has_ended(process))
    # Where nobody takes note of its end, its number stays in use, and this file says that it runs.
    (server.pgdata / "postmaster.pid").unlink(missing_ok=True)


async def test_a_dead_endpoint_is_avoided_until_it_is_back(tmp_path: Path) -> None:
    """One of two first, then the only one there is."""
    bill, load = Bill(slowest_s=0.2), Load()
    one, other = ScriptedJudge(always=bill), ScriptedJudge(always=bill)
    async with AsyncExitStack() as judges:
        await judges.enter_async_context(other.serving())
        dying = AsyncExitStack()
        await dying.enter_async_context(one.serving())
        port = int(one.url.rsplit(":", 1)[1].split("/")[0])
        command = options(tmp_path, str(tmp_path / "podium.db"), one, other)
        async with serving(tmp_path, *command) as process, load.coming():
            load.urls = [str(process.url)]
            await eventually(lambda: min(one.calls, other.calls) > 10)
            await dying.aclose()
            await eventually(lambda: bool(process.logged("breaker_opened")))
            await load.goes_on()
            assert not load.setbacks
            await judges.aclose()
            await eventually(lambda: load.setbacks["judge_unavailable"] > 20)
            before = one.calls
            await judges.enter_async_context(one.serving(port))
            await load.goes_on()
            assert one.calls > before
    print(f"{load.asked} groups, {one.calls} + {other.calls} calls; {load.setbacks}")
    assert set(load.setbacks) == {"judge_unavailable"}
    await assert_all_kept(str(tmp_path / "podium.db"), load)


async def assert_all_kept(store: str, load: Load) -> None:
    """Assert that all is ranked truly, and that each answer told is there with its true calls."""
    assert set(load.told) == set(range(load.asked))
    async with open_store(store) as opened:
        for number, told in load.told.items():
            assert [each["reward"] for each in told["results"]] == pytest.approx(rewards(number))
            await assert_kept(opened, told)


async def assert_kept(opened: SQLStore, told: dict[str, Any]) -> None:
    found = await opened.read_ranking(told["id"])
    assert found
    assert found["answer"]["results"] == told["results"]
    orders = Counter[tuple[str, ...]]()
    for call in await opened.read_calls(found["key"]):
        assert call["verdict"]
        shown = Asked({"messages": call["messages"]}, {}).shown
        assert call["verdict"]["scores"] == [worth(text) for text in shown.values()]
        orders[tuple(shown.values())] += 1
    assert sorted(orders.values()) == [1] * PASSES, "a stored verdict was paid again"
