"""What the service tells about the past over HTTP: rankings, failures, calls and runs."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import Answer, Asked, ScriptedJudge, by_length, fails, says, scores
from tests.service.helpers import client, client_of_judge, group, llm, service

pytestmark = pytest.mark.anyio
RUN = {"run": "a/b", "step": 3}


async def get(http: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_ranking_is_listed_and_shown_with_its_calls(tmp_path: Path) -> None:
    sent = group("5", "five", group_id="g", metadata=RUN)
    async with client_of_judge(tmp_path, scores(by_length), passes=2) as (http, judge):
        ranked = (await http.post("/v1/rank", json=sent)).json()
        again = (await http.post("/rank", json=sent | {"group_id": "h"})).json()
        page = await get(http, "/v1/rankings", run="a/b", step=3, limit=1)
        older = await get(http, "/rankings", run="a/b", cursor=page["next"], since="2026-01-01")
        detail = await get(http, f"/v1/rankings/{ranked['id']}")
        calls = (await get(http, f"/v1/rankings/{ranked['id']}/calls"))["calls"]
        runs = await get(http, "/v1/runs")
        run = await get(http, "/v1/runs/a/b")
    assert again["cached"]
    [newest], [first] = page["rankings"], older["rankings"]
    assert (newest["group_id"], newest["cached"]) == ("h", True)
    assert (first["group_id"], first["cached"], first["id"]) == ("g", False, ranked["id"])
    assert older["next"] is None
    assert detail["ranking"] == ranked
    assert detail["request"]["trajectories"][1]["messages"][1]["content"] == "five"
    assert detail["metadata"] == RUN
    assert [call["messages"] for call in calls] == [a.body["messages"] for a in judge.asked]
    assert [sorted(call["order"]) for call in calls] == [["t0", "t1"]] * 2
    assert calls[0]["order"] != calls[1]["order"]  # an order and its reverse
    for call, asked in zip(calls, judge.asked, strict=True):
        texts = {name: asked.shown[shown] for shown, name in call["shown_ids"].items()}
        assert "five" in texts["t1"]
    assert [each["run"] for each in runs["runs"]] == ["a/b"]
    [step] = run["steps"]
    assert (step["step"], step["groups"], step["cached"]) == (3, 2, 1)


async def test_a_failed_group_is_found_by_the_id_in_its_problem(tmp_path: Path) -> None:
    sent = group("5", "five", metadata=RUN)
    async with (
        ScriptedJudge(always=says("no verdict")).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        one = (await http.post("/rank", json=sent)).json()
        batch = await http.post("/rank/batch", json={"groups": [sent, {"trajectories": []}]})
        await opened.store.flush()  # an answer does not wait until its failure is kept
        page = await get(http, "/rankings", outcome="failed")
        detail = await get(http, f"/rankings/{one['ranking_id']}")
        calls = (await get(http, f"/rankings/{one['ranking_id']}/calls"))["calls"]
    ids = {one["ranking_id"]}
    for line in batch.text.splitlines():
        if '"invalid_request"' in line:
            assert '"ranking_id":null' in line  # it never became a group
        else:
            ids.add(httpx.Response(200, text=line).json()["problem"]["ranking_id"])
    assert {each["id"] for each in page["rankings"]} == ids
    assert len(ids) == 2
    assert detail["problem"]["code"] == "verdict_invalid"
    assert detail["summary"]["tokens"] > 0
    assert detail["ranking"] is None
    assert all(call["fault"] for call in calls)
    assert len(calls) >= 2


async def test_clients_that_share_a_failure_have_ids_of_their_own(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(always=fails(401)).serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        sent = {"groups": [group("5", "five", group_id=str(index)) for index in range(3)]}
        answer = await http.post("/rank/batch", json=sent)
        problems = [httpx.Response(200, text=each).json() for each in answer.text.splitlines()]
        await opened.store.flush()
        found = {
            each["group_id"]: each["id"] for each in (await get(http, "/rankings"))["rankings"]
        }
    assert {each["group_id"]: each["problem"]["ranking_id"] for each in problems} == found
    assert len(set(found.values())) == 3


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "step=x", "outcome=maybe", "since=soon", "other=1", "q=%00",
              "cursor=x", "min_reliability=nan"],
)  # fmt: skip
async def test_a_query_that_cannot_be_read_is_refused(query: str, tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        answer = await http.get(f"/v1/rankings?{query}")
        judge = await http.post("/rank", json=group("5", "6", judge="nobody"))
        listed = await get(http, "/rankings")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert judge.json()["code"] == "unknown_judge"
    assert not listed["rankings"]  # a refused request is no group


async def test_explanations_are_cut_where_a_judge_says_so(tmp_path: Path) -> None:
    wordy = {"score": 0.5, "explanation": "word " * 99}

    def step(asked: Asked) -> Answer:
        return says(json.dumps(dict.fromkeys(asked.shown, wordy)))(asked)

    settings = {"explanations": "after", "explanation_chars": 7, "passes": 1}
    async with client_of_judge(tmp_path, step, **settings) as (http, _):
        ranked = (await http.post("/rank", json=group("5", "five"))).json()
        [call] = (await get(http, f"/rankings/{ranked['id']}/calls"))["calls"]
    assert [each["explanation"] for each in ranked["results"]] == ["word wo"] * 2
    assert set(call["explanations"].values()) == {"word wo"}


async def test_the_environment_forbids_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODIUM_NO_TEXTS", "1")
    async with client_of_judge(tmp_path, scores(by_length)) as (http, _):
        ranked = (await http.post("/rank", json=group("5", "hush-hush"))).json()
        detail = await get(http, f"/rankings/{ranked['id']}")
        calls = await get(http, f"/rankings/{ranked['id']}/calls")
    assert detail["request"] is None
    assert detail["ranking"]["results"][1]["reward"] == ranked["results"][1]["reward"]
    assert "hush-hush" not in str(detail) + str(calls)
    assert b"hush-hush" not in (tmp_path / "podium.db").read_bytes()
