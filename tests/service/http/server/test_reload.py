"""A judges file that changes while the service runs."""

import asyncio
from pathlib import Path

import httpx
import pytest

from podium_service.judges.endpoint.connection import transport
from tests.fakes import (
    ScriptedJudge,
    by_length,
    scores,
    until,
)
from tests.service.helpers import group, judges_file, llm, request, service
from tests.service.process import running

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)


async def judge_names(http: httpx.AsyncClient) -> set[str]:
    return {judge["name"] for judge in (await http.get("/judges")).json()["judges"]}


CHECKS = {"kind": "checks", "criteria": [{"check": "max_words", "words": 9}]}


async def test_a_changed_judges_file_is_loaded_and_a_bad_one_refused(
    tmp_path: Path,
) -> None:
    config = judges_file(tmp_path / "judges.yaml", old=CHECKS)
    with running("--config", str(config), cwd=tmp_path) as process:
        async with process.client() as http:
            assert await judge_names(http) == {"old"}

            bad = tmp_path / "bad.yaml"
            bad.write_text("default_judge: x\njudges:\n  x: {kind: checks, criterias: []}\n")
            bad.replace(config)  # in one step, because half of a file would be refused, too
            await until(lambda: bool(process.logged("config_refused")))
            assert await judge_names(http) == {"old"}
            [refused] = process.logged("config_refused")
            assert refused["level"] == "error"
            assert f"{config}:3: judges.x" in refused["detail"]

            judges_file(config, new=CHECKS)
            await until(lambda: bool(process.logged("config_loaded")))
            assert await judge_names(http) == {"new"}
            answer = await http.post("/rank", json=group("5", "6"))
            assert answer.json()["judge"] == "new"


async def test_a_changed_judges_file_drops_no_request(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=GOOD, hold=1000).serving() as old,
        ScriptedJudge(always=GOOD).serving() as new,
    ):
        config = judges_file(tmp_path / "judges.yaml", main=llm(old.url))
        with running("--config", str(config), cwd=tmp_path) as process:
            async with process.client() as http:
                asking = asyncio.create_task(http.post("/rank", json=group("5", "five")))
                await until(lambda: old.in_flight == 4)
                judges_file(config, main=llm(new.url, model="n"))
                await until(lambda: bool(process.logged("config_loaded")))
                answer = await http.post("/rank", json=group("5", "five"))
                assert answer.json()["model"] == "n"
                assert not asking.done()
                old.hold = 0
                assert (await asking).json()["model"] == "m"


async def test_a_replaced_judge_closes_after_its_last_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_S", 600.0)  # or idle connections close after 4 s
    async with (
        ScriptedJudge(always=GOOD, hold=1000).serving() as old,
        ScriptedJudge().serving() as new,
        service(tmp_path, main=llm(old.url)) as opened,
    ):
        rank, asked = opened.ranker.rank, request("5", "five")
        leaver = asyncio.create_task(rank(asked))
        await until(lambda: old.in_flight == 4)
        judges_file(tmp_path / "judges.yaml", main=llm(new.url))
        opened.ranker.judges.reload()
        stayer = asyncio.create_task(rank(asked))  # waits for the run of the replaced judge
        num_callers = opened.ranker._llm_ranker._runs._num_callers
        await until(lambda: [*num_callers.values()] == [2])
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        del leaver  # because its error refers to the judge
        assert old.connected == 4
        old.hold = 0
        assert (await stayer).results[1].reward == 1
        await until(lambda: old.connected == 0)
    assert (old.calls, new.calls) == (4, 0)
