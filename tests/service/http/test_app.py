"""The routes beside ranking, unknown paths, and callers who disconnect before the response."""

import asyncio
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.errors import ConfigError
from tests.fakes import (
    ScriptedJudge,
    by_length,
    hangs,
    says,
    scores,
    until,
)
from tests.service.helpers import client, client_of_judge, group, llm, service
from tests.service.process import Podium, in_flight, running_with

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)
REFERENCE = {"reference": "5"}
PRICE = {"prompt": 1.0, "cached": 0.5, "completion": 10.0}


async def test_a_past_ranking_is_returned_as_its_first_caller_got_it(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD) as (http, _):
        first = (await http.post("/rank", json=group("5", "five", group_id="first"))).json()
        await http.post("/rank", json=group("five", "5", group_id="second"))
        found = await http.get(f"/rankings/{first['id']}")
    assert found.status_code == 200
    assert found.json()["ranking"] == first


@pytest.mark.parametrize(
    ("ranking_id", "status"),
    [("rk_0", 404), ("%F0%9F%8F%86", 404), ("%ED%A0%80", 404), ("x" * 65, 422), ("rk%00", 422)],
)
async def test_an_unknown_ranking_id_is_a_problem(
    ranking_id: str, status: int, http: httpx.AsyncClient
) -> None:
    answer = await http.get(f"/rankings/{ranking_id}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_judges_are_shown_without_keys_and_with_their_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    checks = {"kind": "checks", "criteria": [{"check": "max_words", "words": 9}]}
    async with (
        ScriptedJudge().serving() as judge,
        service(
            tmp_path,
            main=llm(judge.url, api_key_env="JUDGE_KEY", fallback=["dead"]),
            dead=llm("http://127.0.0.1:1/v1"),
            words=checks,
        ) as opened,
        client(opened) as http,
    ):
        answer = await http.get("/judges")
    assert "sk-very-secret" not in answer.text
    main, dead, words = (
        next(judge for judge in answer.json()["judges"] if judge["name"] == name)
        for name in ("main", "dead", "words")
    )
    assert (main["default"], main["answers"]) == (True, True)
    assert main["api_key_env"] == "JUDGE_KEY"
    assert main["endpoints"][0]["models"] == ["m"]
    assert (dead["default"], dead["answers"]) == (False, False)
    assert "ConnectionRefusedError" in dead["endpoints"][0]["detail"]
    assert (words["kind"], words["answers"]) == ("checks", True)


@pytest.mark.parametrize("key", ["sk-very-sécret", "sk-very\tsecret"])
async def test_a_judge_key_that_no_header_can_hold_stops_the_start(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ConfigError, match="the key in JUDGE_KEY") as caught:
        async with client_of_judge(tmp_path, GOOD, api_key_env="JUDGE_KEY"):
            pass
    assert "very" not in str(caught.value)


async def test_a_judge_key_is_sent_without_its_final_newline(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[MutableMapping[str, Any]],
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret\n")
    async with client_of_judge(tmp_path, GOOD, attempts=1, api_key_env="JUDGE_KEY") as (http, _):
        ranked = await http.post("/rank", json=group("5", "five"))
        shown = await http.get("/judges")
    assert ranked.is_success
    assert "sk-very" not in ranked.text + shown.text + str(logged)


async def test_metrics_count_requests_rankings_calls_tokens_and_cost(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD, price=PRICE) as (http, _):
        await http.post("/rank", json=group("5", "five"))
        await http.post("/rank", json=group("5", "five"))
        await http.post("/rank", json={})
        answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    series = dict(
        line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")
    )
    expected = {
        'podium_requests_total{route="/rank",status="200"}': 2,
        'podium_requests_total{route="/rank",status="422"}': 1,
        'podium_request_seconds_count{route="/rank"}': 3,
        'podium_rankings_total{judge="main",outcome="ranked"}': 1,
        'podium_rankings_total{judge="main",outcome="cached"}': 1,
        'podium_judge_calls_total{judge="main",outcome="ok"}': 4,
        'podium_judge_call_seconds_count{judge="main"}': 4,
        'podium_judge_in_flight{judge="main"}': 0,
        'podium_judge_tokens_total{judge="main",kind="prompt"}': 400,
        'podium_judge_tokens_total{judge="main",kind="cached"}': 160,
        'podium_judge_tokens_total{judge="main",kind="completion"}': 40,
        'podium_judge_cost_usd_total{judge="main"}': pytest.approx(720 / 1e6),
    }
    assert {name: float(series[name]) for name in expected} == expected


async def test_failed_rankings_are_counted_by_error_code(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, says("no verdict"), passes=1) as (http, _):
        await http.post("/rank", json=group("5", "five"))
        text = (await http.get("/metrics")).text
    assert 'podium_rankings_total{judge="main",outcome="verdict_invalid"} 1.0' in text
    assert 'podium_judge_faults_total{judge="main"} 2.0' in text


async def test_a_draining_service_is_not_ready_but_answers(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        opened.draining = True
        unready = await http.get("/readyz")
        assert (unready.status_code, unready.json()["code"]) == (503, "draining")
        assert unready.headers["content-type"] == "application/problem+json"
        assert (await http.get("/livez")).json() == {"status": "live"}
        assert (await http.post("/rank", json=group("5", "6", **REFERENCE))).is_success


async def test_the_openapi_document_lists_all_routes(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    paths = {
        "/livez", "/readyz", "/metrics", "/rank", "/rank/batch", "/rankings",
        "/rankings/{ranking_id}", "/rankings/{ranking_id}/calls",
        "/rankings/{ranking_id}/notes", "/rankings/{ranking_id}/notes/{note_id}",
        "/rankings/{ranking_id}/orders", "/runs", "/runs/{run}",
        "/judges", "/keys", "/keys/{key_id}", "/bridge/join", "/bridge/openrlhf", "/bridge/slime",
        "/spend",
        "/bridge/nemo-gym/compare", "/bridge/nemo-gym/verify",
    }  # fmt: skip
    assert set(described["paths"]) == paths | {f"/v1{path}" for path in paths}
    assert "RankRequest" in described["components"]["schemas"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/ui", 404, "not_found"),
        ("GET", "/v1/v1/judges", 404, "not_found"),
        ("POST", "/rankings", 405, "method_not_allowed"),
        ("GET", "/rank", 405, "method_not_allowed"),
        ("BREW", "/rank", 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
    ],
)
async def test_unknown_paths_and_methods_are_problems(
    method: str, path: str, status: int, code: str, http: httpx.AsyncClient
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405)  # RFC 9110, 15.5.6


async def send_request(
    process: Podium, path: str, body: bytes, length: int
) -> asyncio.StreamWriter:
    """Send a request, and return the connection, which the caller closes."""
    assert process.url
    _, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rsplit(":", 1)[1]))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % length + body)
    return writer


@pytest.mark.parametrize("path", ["/rank", "/rank/batch"])
async def test_closing_the_connection_cancels_the_judge_calls(path: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = group("5", "five")
    body = json.dumps(asked if path == "/rank" else {"groups": [asked]}).encode()
    async with (
        ScriptedJudge(always=hangs).serving() as judge,
        running_with(tmp_path, main=llm(judge.url)) as (http, process),
    ):
        writer = await send_request(process, path, body, len(body))
        await until(lambda: judge.in_flight == 4)
        assert await in_flight(http) == 4
        writer.close()
        await until(lambda: has_logged_request(process, path))

        async def idle() -> bool:
            return await in_flight(http) == 0

        await until(idle)
        assert [line for line in process.logs if line["level"] == "error"] == []


async def test_closing_the_connection_during_the_body_is_not_a_bug(tmp_path: Path) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        running_with(tmp_path, main=llm(judge.url)) as (http, process),
    ):
        writer = await send_request(process, "/rank", b"{", 1000)
        await writer.drain()
        writer.close()
        await until(lambda: has_logged_request(process, "/rank"))
        assert [line for line in process.logs if line["level"] == "error"] == []
        assert 'status="500"' not in (await http.get("/metrics")).text


def has_logged_request(process: Podium, route: str) -> bool:
    return any(line["route"] == route for line in process.logged("request"))
