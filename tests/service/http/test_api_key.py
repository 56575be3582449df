"""API keys: scopes, request limits, and the spend limits of the rankings that they ask for."""

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from podium_service.http.access.api_key import Scope
from podium_service.http.service import Service
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.quotas.spend import SpendLimit
from tests.fakes import ScriptedJudge, by_length, scores
from tests.service.helpers import add_new_key, client, client_with_key, group, llm, service

pytestmark = pytest.mark.anyio
REFERENCE = {"reference": "5"}
GROUP = group("5", "6", **REFERENCE)
ROUTES: dict[Scope, set[str]] = {
    "rank": {"POST /rank", "POST /rank/batch", "POST /bridge/join", "POST /v1/rank"},
    "read": {
        "GET /rankings", "GET /rankings/rk_x", "GET /rankings/rk_x/calls", "GET /runs",
        "GET /runs/a/b", "GET /judges", "GET /metrics", "GET /openapi.json",
        "GET /v1/rankings/rk_x",
    },
}  # fmt: skip
KEY_ROUTES = {"GET /keys", "POST /keys", "PATCH /keys/x", "DELETE /keys/x", "GET /v1/keys"}
KEY_ROUTES |= {"PATCH /v1/keys/x", "GET /spend", "GET /v1/spend"}
ROUTES["admin"] = ROUTES["rank"] | ROUTES["read"] | KEY_ROUTES


@pytest.mark.parametrize("scope", ROUTES)
async def test_a_scope_allows_its_routes_and_no_others(scope: Scope, tmp_path: Path) -> None:
    async with client_with_key(tmp_path, scope) as (http, _, _):
        for route in ROUTES["admin"]:
            method, path = route.split()
            answer = await http.request(
                method, path, json={} if method in ("POST", "PATCH") else None
            )
            if route in ROUTES[scope]:
                assert answer.status_code in (200, 404, 422), route
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), route
                assert f"may {scope}" in answer.json()["detail"]


async def test_the_keys_route_shows_limits_and_no_secrets(tmp_path: Path) -> None:
    async with client_with_key(tmp_path, "admin", requests_per_minute=7) as (http, _, key):
        answer = await http.get("/keys")
    [shown] = answer.json()["keys"]
    assert (shown["id"], shown["requests_per_minute"]) == (key.id, 7)
    assert "sha256" not in answer.text


async def test_the_key_of_the_environment_has_every_scope(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as opened, client(opened, api_keys=["environment"]) as http:
        _, headers = await add_new_key(opened.store, "rank")
        for shown in ({"Authorization": "Bearer environment"}, headers):
            assert (await http.post("/rank", json=GROUP, headers=shown)).status_code == 200
        environment = {"Authorization": "Bearer environment"}
        assert (await http.get("/keys", headers=environment)).status_code == 200


async def test_the_request_limit_is_exact_for_100_concurrent_requests(
    tmp_path: Path,
) -> None:
    async with client_with_key(tmp_path, "rank", requests_per_minute=10) as (http, _, _):
        answers = await asyncio.gather(*(http.post("/rank", json=GROUP) for _ in range(100)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 90}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "key_rate_limited"
    assert refused.json()["retryable"] is True
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_each_group_of_a_batch_counts_as_one_request(tmp_path: Path) -> None:
    batch = {"groups": [group("5", str(index), **REFERENCE) for index in range(20)]}
    async with client_with_key(tmp_path, "rank", requests_per_minute=8) as (http, _, _):
        answer = await http.post("/rank/batch", json=batch)
        again = await http.post("/rank", json=GROUP)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    codes = Counter(line.get("problem", {}).get("code", "ranked") for line in lines)
    assert codes == {"ranked": 8, "key_rate_limited": 12}
    assert again.status_code == 429


async def test_the_deadline_applies_while_a_request_is_counted(tmp_path: Path) -> None:
    asked = {**GROUP, "deadline_s": 0.3}
    async with client_with_key(tmp_path, "rank", requests_per_minute=100) as (http, _, _):
        assert (await http.post("/rank", json=GROUP)).status_code == 200
        with closing(sqlite3.connect(tmp_path / "podium.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # other writers wait for 10 s
            async with asyncio.timeout(5):
                answer, batch = await asyncio.gather(
                    http.post("/rank", json=asked),
                    http.post("/rank/batch", json={"groups": [asked]}),
                )
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "for counting the request" in answer.json()["detail"]
    assert json.loads(batch.text)["problem"]["code"] == "deadline_exceeded"


class NotingRanker(Ranker):
    """Notes the context of each request."""

    def __init__(self, opened: Service) -> None:
        super().__init__(opened.ranker.judges, opened.store, opened.metrics)
        self.callers: list[RequestContext] = []

    async def rank(
        self,
        request: RankRequest,
        deadline: Deadline | None = None,
        request_context: RequestContext | None = None,
    ) -> Ranking:
        assert request_context is not None
        self.callers.append(request_context)
        return await super().rank(request, deadline, request_context)


async def test_the_ranker_gets_the_key_and_its_spend_limit(tmp_path: Path) -> None:
    limit = SpendLimit(usd=5.0, per="month")
    async with service(tmp_path) as opened:
        key, headers = await add_new_key(opened.store, "rank", spend_limit=limit)
        noting = NotingRanker(opened)
        async with client(Service(noting, opened.store, opened.metrics)) as http:
            http.headers.update(headers)
            await http.post("/rank", json=GROUP)
            await http.post("/rank/batch", json={"groups": [GROUP, GROUP]})
    assert [
        (request_context.api_key_id, request_context.spend_limit)
        for request_context in noting.callers
    ] == [(key.id, limit)] * 3
    assert len({id(request_context) for request_context in noting.callers}) == 3


async def test_the_spend_limit_holds_for_concurrent_groups(
    tmp_path: Path,
) -> None:
    price = {"prompt": 0.0, "completion": 1000.0}  # a reply has 10 tokens, so it costs a cent
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, price=price, max_tokens=500)) as opened,
        client(opened) as http,
    ):
        _, headers = await add_new_key(
            opened.store, "rank", "admin", spend_limit=SpendLimit(usd=0.525, per="month")
        )
        asked = [group("5", "five", "x" * size) for size in range(2, 12)]
        answers = await asyncio.gather(
            *(http.post("/rank", json=each, headers=headers) for each in asked)
        )
        statuses = Counter(answer.status_code for answer in answers)
        [shown] = (await http.get("/keys", headers=headers)).json()["keys"]
    assert statuses == {200: 3, 402: 7}  # a fourth call could cost 0.50 USD, and 0.03 are spent
    refused = next(answer.json() for answer in answers if answer.status_code == 402)
    assert (refused["code"], refused["retryable"]) == ("key_spend_limit", False)
    assert (shown["spent_usd"], shown["reserved_usd"]) == (0.03, 0.0)
    assert judge.calls == 3


async def test_a_key_at_its_limit_fails_no_equal_group_of_other_keys(tmp_path: Path) -> None:
    price = {"prompt": 0.0, "completion": 1000.0}
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, price=price)) as opened,
        client(opened) as http,
    ):
        _, poor = await add_new_key(opened.store, "rank", spend_limit=SpendLimit(usd=0.01))
        _, rich = await add_new_key(opened.store, "rank")
        answers = await asyncio.gather(
            *(
                http.post("/rank", json=group("5", "five"), headers=key)
                for key in (poor, rich, rich)
            )
        )
    assert [answer.status_code for answer in answers] == [402, 200, 200]
    assert judge.calls == 1


async def test_a_key_with_a_spend_limit_needs_a_judge_with_a_price(tmp_path: Path) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        _, headers = await add_new_key(opened.store, "rank", spend_limit=SpendLimit(usd=1.0))
        refused = await http.post("/rank", json=group("5", "five"), headers=headers)
    assert refused.status_code == 402
    assert "judge 'main' no price" in refused.json()["detail"]
    assert judge.calls == 0
