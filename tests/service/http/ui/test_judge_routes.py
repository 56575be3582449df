"""The pages on judges and failures, over a service that ranks."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.store.history.judging import JudgingReader
from tests.fakes import ScriptedJudge, by_length, fails, says, scores
from tests.service.helpers import client, group, llm, service

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>\u202e"


async def rank(http: httpx.AsyncClient, judge: str, *answers: str, **fields: Any) -> httpx.Response:
    return await http.post("/rank", json=group(*(answers or ("a", "bb")), judge=judge, **fields))


async def test_a_judge_page_says_why_an_endpoint_rests(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(500, "the GPU <b>fell</b> off")).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=4, attempts=3)) as opened,
        client(opened) as http,
    ):
        page = (await http.get("/ui/judges")).text
        assert '<span class="chip good">ready</span>' in page
        await rank(http, "main", deadline_s=20)
        page = (await http.get("/ui/judges")).text
        assert "the GPU &lt;b&gt;fell&lt;/b&gt; off" in page
        assert "breaker open" in page
        assert judge.listed == []  # looking at the page asks nobody
        assert "answers" in (await http.get("/ui/judges?probe=yes")).text


async def test_a_judge_page_says_why_calls_are_rejected(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401, "this key <b>is wrong</b>")).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        assert (await rank(http, "main")).json()["code"] == "judge_rejected"
        assert "this key &lt;b&gt;is wrong&lt;/b&gt;" in (await http.get("/ui/judges")).text


async def test_a_judge_page_shows_speed_and_spend(tmp_path: Path) -> None:
    settings = {"price": {"prompt": 1, "completion": 2}, "spend": {"usd": 5, "per": "day"}}
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, **settings)) as opened,
        client(opened) as http,
    ):
        assert (await rank(http, "main")).status_code == 200
        page = (await http.get("/ui/judges")).text
        assert re.search(r"<b>\$0\.\d+</b> of \$5\.00 this day", page)
        assert "0.0% of 4 replies no verdict" in page


async def test_a_reply_without_a_verdict_leads_to_its_group(tmp_path: Path) -> None:
    steps = [says(HOSTILE), scores(by_length)]
    async with (
        ScriptedJudge(steps).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1)) as opened,
        client(opened) as http,
    ):
        await rank(http, "main", group_id="first")
        page = (await http.get("/ui/failures")).text
        assert "&lt;script&gt;alert(1)" in page
        assert "U+202E" in page
        assert "<script>alert" not in page
        link = re.search(r'href="(/ui/failures/[^"?]+)"', page)
        assert link
        found = await http.get(link[1])
        assert found.status_code == 303
        assert ">first</h1>" in (await http.get(found.headers["location"])).text
        assert (await http.get("/ui/failures/none")).status_code == 404


async def test_failed_groups_are_counted_and_filtered(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=says("no")).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1), checks={"kind": "checks", "criteria": [
            {"check": "matches_reference"}]}) as opened,
        client(opened) as http,
    ):  # fmt: skip
        await rank(http, "main", group_id="of-main")
        await rank(http, "checks", group_id="of-checks")
        await opened.store.flush()  # a failure is written after its answer
        page = (await http.get("/ui/failures")).text
        assert "of-main" in page
        assert "of-checks" in page
        page = (await http.get("/ui/failures?judge=main")).text
        assert "of-main" in page
        assert "of-checks" not in page
        page = (await http.get("/ui/failures?code=none")).text
        assert "No such group." in page
        assert (await http.get("/ui/failures?before=x")).status_code == 422


async def test_faults_are_read_a_page_at_a_time(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=says("no")).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1)) as opened,
        client(opened) as http,
    ):
        for answer in ("b", "c", "d"):
            await rank(http, "main", "a", answer)
        await opened.store.flush()
        reader = JudgingReader(opened.store)
        seen, before = [], None
        while True:
            some, before = await reader.list_faults(None, before, 2)
            seen += [each.call_id for each in some]
            if before is None:
                break
        assert len(seen) == len(set(seen)) == judge.calls
        assert await reader.list_faults("other") == ([], None)


async def test_two_judges_are_compared_without_a_call(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as long,
        ScriptedJudge(always=scores(lambda text: 1 - by_length(text))).serving() as short,
        service(tmp_path, long=llm(long.url), short=llm(short.url, model="other")) as opened,
        client(opened) as http,
    ):
        assert "No group was ranked by two judges" in (await http.get("/ui/compare")).text
        for judge in ("long", "short"):
            await rank(http, judge, "a", "bbbb", "cccccccc", group_id="disputed")
        asked = long.calls + short.calls
        page = (await http.get("/ui/compare?a=short&b=long")).text
        assert "disputed" in page
        assert "-1.00" in page
        assert "other winner" in page
        assert long.calls + short.calls == asked
