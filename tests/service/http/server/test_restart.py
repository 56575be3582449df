"""A service that is killed and started again: what it has stored, and what it pays for again."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    by_length,
    hangs,
    scores,
    until,
)
from tests.service.helpers import count_verdicts, group, judges_file, llm, select_rows
from tests.service.process import running

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)


def assert_sound(path: Path) -> None:
    assert select_rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_restart_repeats_only_the_calls_that_were_in_progress(
    tmp_path: Path,
) -> None:
    groups = [group("5", f"five {index}") for index in range(6)]
    shown: Counter[str] = Counter()

    def three_of_four(asked: Asked) -> Answer:
        name = "".join(sorted(asked.shown.values()))
        shown[name] += 1
        return hangs(asked) if shown[name] == 4 else GOOD(asked)

    store = tmp_path / "podium.db"
    async with ScriptedJudge(always=three_of_four).serving() as judge:
        main = llm(judge.url, concurrency={"min": 24, "max": 24})  # all calls at once
        options = ("--config", str(judges_file(tmp_path / "judges.yaml", main=main)))
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                asking = [asyncio.create_task(http.post("/rank", json=each)) for each in groups]
                await until(lambda: judge.calls == 24 and count_verdicts(store) == 18)
                process.kill()
                lost = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(each, httpx.TransportError) for each in lost)
        assert_sound(store)
        judge.always = GOOD
        with running(*options, cwd=tmp_path) as process:
            async with process.client() as http:
                answers = await asyncio.gather(*(http.post("/rank", json=each) for each in groups))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert judge.calls == 24 + 6
    assert [answer.json()["usage"]["calls"] for answer in answers] == [1] * 6
    assert_sound(store)


async def test_no_stored_call_is_paid_again_after_a_kill(tmp_path: Path) -> None:
    groups = [group("5", f"five {index}") for index in range(12)]
    needed = 4 * len(groups)
    store = tmp_path / "podium.db"
    async with ScriptedJudge(always=scores(by_length, delay_s=0.02)).serving() as judge:
        config = judges_file(tmp_path / "judges.yaml", main=llm(judge.url, concurrency=4))
        ranking_ids: dict[int, str] = {}  # group -> id of the ranking that its caller received
        for kill_at in (5, 20, 33):
            before = judge.calls - (count_verdicts(store) if store.exists() else 0)
            with running("--config", str(config), cwd=tmp_path) as process:
                async with process.client() as http:

                    async def ask(index: int, http: httpx.AsyncClient = http) -> None:
                        answer = await http.post("/rank", json=groups[index])
                        ranking_ids[index] = answer.json()["id"]

                    asking = [asyncio.create_task(ask(index)) for index in range(12)]
                    await until(lambda at=kill_at + before: judge.calls >= at)
                    process.kill()
                    await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: judge.connected == 0)  # until every call that was sent has arrived
            assert_sound(store)
        kept, asked = count_verdicts(store), judge.calls
        assert 0 < kept < needed
        with running("--config", str(config), cwd=tmp_path) as process:
            async with process.client() as http:
                answers = await asyncio.gather(*(http.post("/rank", json=each) for each in groups))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert judge.calls - asked == needed - kept
    for index, ranking_id in ranking_ids.items():
        assert answers[index].json()["id"] == ranking_id
        assert answers[index].json()["usage"]["calls"] == 0
