"""The middleware: API keys, request ids, bugs, and where the time of a request goes."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from podium_service.http.app import create_app
from podium_service.http.service import Service
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest
from podium_service.telemetry.metrics import Metrics
from tests.service.helpers import batch_lines, client, client_with_key, group, service

pytestmark = pytest.mark.anyio
KEY = "podium-key-1"
REFERENCE = {"reference": "5"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer kéy"],
)
async def test_only_health_probes_answer_without_the_key(
    authorization: str | None, tmp_path: Path
) -> None:
    headers = [] if authorization is None else [(b"Authorization", authorization.encode())]
    async with service(tmp_path) as opened, client(opened, api_keys=[KEY]) as http:
        paths = ["/openapi.json", "/none", "/livez/", *create_app(opened).openapi()["paths"]]
        for path in paths:
            for method in ("GET", "POST", "OPTIONS"):
                answer = await http.request(method, path, headers=headers)
                open_to_all = path.removeprefix("/v1") in ("/livez", "/readyz")
                assert (answer.status_code == 401) is not open_to_all, (method, path)
                if not open_to_all:
                    assert answer.json()["code"] == "unauthorized"
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert answer.json()["request_id"] == answer.headers["x-request-id"]
                    assert KEY not in answer.text


async def test_each_configured_key_is_accepted(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened, api_keys=["other", KEY]) as http:
        for authorization in (f"Bearer {KEY}", f"bearer {KEY}", "Bearer other"):
            answer = await http.get("/judges", headers={"Authorization": authorization})
            assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/nowhere", "/judges", "/rankings/rk_0"])
async def test_a_plain_request_id_is_returned(path: str, http: httpx.AsyncClient) -> None:
    answer = await http.get(path, headers={"X-Request-ID": "run.7:step_12-a"})
    assert answer.headers["x-request-id"] == "run.7:step_12-a"


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 65, "é".encode(), b"a\tb", b"<b>", b'{"a'])
async def test_an_odd_request_id_is_replaced(given: bytes, http: httpx.AsyncClient) -> None:
    answers = [await http.get("/livez", headers={b"X-Request-ID": given}) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids[0] != ids[1]
    assert all(each.isalnum() and len(each) == 16 for each in ids)


class BrokenRanker:
    """A ranker with a bug, whose error has a text that no response may show."""

    async def rank(self, request: RankRequest) -> Ranking:
        raise LookupError("zebra-7f3a91")


async def test_a_bug_is_a_500_that_shows_only_the_request_id(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    async with service(tmp_path) as opened:
        broken = Service(cast(Ranker, BrokenRanker()), opened.store, Metrics())
        async with client(broken) as http:
            answer = await http.post("/rank", json=group("5", "6"))
            batch = await http.post("/rank/batch", json={"groups": [group("5", "6"), 7]})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    codes = [line["problem"]["code"] for line in batch_lines(batch)]
    assert codes == ["internal", "invalid_request"]
    for text in (answer.text, batch.text):
        assert "zebra" not in text
        assert "Traceback" not in text
        assert "LookupError" not in text
    bugs = [line for line in logged if line["event"] == "bug"]
    assert [line["log_level"] for line in bugs] == ["error", "error"]


GROUP = group("5", "6", **REFERENCE)


def read_server_timing(answer: httpx.Response) -> dict[str, float]:
    """Return the durations of the Server-Timing header, in milliseconds."""
    parts = (part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    return {name: float(duration) for name, duration in parts}


async def test_every_response_of_rank_has_a_server_timing_header(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "rank") as (http, _, _):
        ranked = read_server_timing(await http.post("/rank", json=GROUP))
        refused = read_server_timing(await http.post("/rank", json={}))
        unknown = read_server_timing(
            await http.post("/rank", json={}, headers={"Authorization": "Bearer x"})
        )
    for times in (ranked, refused, unknown):
        assert list(times) == ["queue", "judge", "overhead"]
        assert times["queue"] == times["judge"] == 0
    assert ranked["overhead"] > 0


async def test_refused_requests_are_counted_under_their_route(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    asked = {
        "/judges": 401,
        "/rankings/rk_1": 401,
        "/nothing/here": 401,
        "/keys": 403,
        "/keys/x": 403,
    }
    async with client_with_key(tmp_path, "read") as (http, opened, _):
        for path, status in asked.items():
            headers = {} if status == 403 else {"Authorization": ""}
            assert (await http.get(path, headers=headers)).status_code == status
        routes = [line["route"] for line in logged if line["event"] == "request"]
        assert routes == [
            "/judges",
            "/rankings/{ranking_id}",
            "unrouted",
            "/keys",
            "/keys/{key_id}",
        ]
        labels = {"route": "/rankings/{ranking_id}", "status": "401"}
        counted = opened.metrics.registry.get_sample_value("podium_requests_total", labels)
        assert counted == 1
