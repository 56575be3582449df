"""API keys: made once, kept as hashes, and what each may ask for and how often."""

import asyncio
import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from podium_service.cli.options import store_shown
from podium_service.errors import StoreUnavailable, Unauthorized
from podium_service.http.api_key import UNRESTRICTED, APIKey, Scope, create_key, iso_time
from podium_service.http.api_key_store import APIKeyCache, add_key, list_keys, revoke_key
from podium_service.http.app import create_app
from podium_service.http.service import Service
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.database.tables import API_KEYS
from podium_service.store.quotas.spend import SpendLimit
from podium_service.store.store import SQLStore, open_store
from podium_service.telemetry.routes import route_of
from tests.fakes import ScriptedJudge, by_length, scores, until
from tests.service.helpers import client, group, llm, service
from tests.service.process import podium, running

pytestmark = pytest.mark.anyio

REFERENCE = {"reference": "5"}
GROUP = group("5", "6", **REFERENCE)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as lines:
        yield lines


async def made(store: SQLStore, *scopes: Scope, **limits: Any) -> tuple[APIKey, dict[str, str]]:
    """A new key in the store, and the headers that show it."""
    key, text = create_key("trainer", scopes, **limits)
    await add_key(store, key)
    return key, {"Authorization": f"Bearer {text}"}


@asynccontextmanager
async def guarded(
    tmp_path: Path, *scopes: Scope, **limits: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service, APIKey]]:
    """A client that shows the only key of a service."""
    async with service(tmp_path) as opened:
        key, headers = await made(opened.store, *scopes, **limits)
        async with client(opened) as http:
            http.headers.update(headers)
            yield http, opened, key


def not_in_files(secret: str, folder: Path) -> bool:
    """Whether no file of the store holds it."""
    return not any(secret.encode() in path.read_bytes() for path in folder.glob("podium.db*"))


# What a key is


async def test_a_key_shows_its_id_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    finished = await podium(
        "keys", "create", "trainer", "--scope", "rank", "--requests-per-minute", "60",
        "--spend-usd", "2.5", "--per", "day", "--json", cwd=tmp_path,
    )  # fmt: skip
    made = json.loads(finished.out)
    assert re.fullmatch(rf"pk_{made['id']}_[A-Za-z0-9_-]{{43}}", made["key"])
    secret = made["key"].split("_", 2)[2]
    assert finished.code == 0
    assert not_in_files(secret, tmp_path)
    listed = await podium("keys", "list", "--json", cwd=tmp_path)
    [key] = json.loads(listed.out)
    assert key == {name: value for name, value in made.items() if name != "key"} | {
        "spent_usd": 0.0, "reserved_usd": 0.0,
    }  # fmt: skip
    assert (key["scopes"], key["requests_per_minute"]) == (["rank"], 60)
    assert key["spend_limit"] == {"usd": 2.5, "per": "day"}
    assert key["revoked_at"] is None
    shown = await podium("keys", "list", cwd=tmp_path)
    assert "0.00 of 2.5 USD/day" in shown.out
    assert secret not in shown.out + listed.out


async def test_the_list_is_whole_at_80_columns_and_says_what_no_keys_mean(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        empty = await podium("keys", "list", cwd=tmp_path)
        key, _ = await made(
            store, "rank", "read", requests_per_minute=600, spend_limit=SpendLimit(usd=20)
        )
        await revoke_key(store, key.id)
    assert empty.out.startswith("no keys: whoever reaches the service on loopback may ask")
    [row] = [
        line
        for line in (await podium("keys", "list", cwd=tmp_path, COLUMNS="80")).out.splitlines()
        if key.id in line
    ]
    assert len(row) <= 80
    assert row.count(iso_time(key.created_at)[:10]) == 2


async def test_who_makes_a_key_is_told_the_store_and_not_its_password(tmp_path: Path) -> None:
    finished = await podium("keys", "create", "x", "--store", "own.db", cwd=tmp_path)
    assert finished.err.endswith("(x) of own.db: keep it, it is shown only now\n")
    assert store_shown("postgresql://u:secret@h/podium") == "postgresql://u:***@h/podium"
    assert store_shown("postgresql://h/x?user=u&password=secret") == "postgresql://h/x?user=u"


async def test_a_revoked_key_keeps_the_moment_and_an_unknown_one_is_an_error(
    tmp_path: Path,
) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        key, _ = await made(store, "rank")
        first = await revoke_key(store, key.id)
        again = await revoke_key(store, key.id)
        assert [each.revoked_at for each in await list_keys(store)] == [first.revoked_at]
    assert again.revoked_at == first.revoked_at is not None
    finished = await podium("keys", "revoke", "nope", cwd=tmp_path)
    assert (finished.code, finished.err) == (1, "podium: no key 'nope': see podium keys list\n")


async def test_the_list_shows_names_as_they_are(tmp_path: Path) -> None:
    name = "team[/a] [red]:fire:"
    assert (await podium("keys", "create", name, cwd=tmp_path)).code == 0
    listed = await podium("keys", "list", cwd=tmp_path)
    assert (listed.code, listed.err) == (0, "")
    assert f" {name} " in listed.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("",), "1 to 64 printable characters"),
        (("a\0b",), "1 to 64 printable characters"),
        (("x" * 65,), "1 to 64 printable characters"),
        (("x", "--scope", "all"), "scope 'all': must be one of rank, read, admin"),
        (("x", "--spend-usd", "5"), "--spend-usd and --per go together"),
        (("x", "--per", "day"), "--spend-usd and --per go together"),
        (("x", "--spend-usd", "0", "--per", "day"), "--spend-usd 0: must be 0.000001"),
        (("x", "--spend-usd", "-1", "--per", "day"), "--spend-usd -1: must be 0.000001"),
        (("x", "--spend-usd", "1e-9", "--per", "day"), "--spend-usd 1e-09: must be 0.000001 to"),
        (("x", "--spend-usd", "1e300", "--per", "day"), "must be 0.000001 to 1000000000"),
        (("x", "--requests-per-minute", "0"), "--requests-per-minute 0: must be 1 to 1000000"),
        (("x", "--requests-per-minute", "3000000000"), "3000000000: must be 1 to 1000000"),
        (("x", "--requests-per-minute", "9" * 20), "9{20}: must be 1 to 1000000; leave it out"),
        (("x", "--spend-usd", "nan", "--per", "day"), "--spend-usd nan: must be 0.000001"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, tuple) else "",
)
def test_a_key_that_cannot_be_is_refused_in_one_line(
    options: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from podium_service.cli.main import app
    from podium_service.errors import ConfigError

    with pytest.raises(ConfigError, match=said):
        app(["keys", "create", *options, "--store", str(tmp_path / "s.db")], standalone_mode=False)


# What a key opens

OPENED: dict[Scope, set[str]] = {
    "rank": {"POST /rank", "POST /rank/batch"},
    "read": {"GET /rankings/rk_x", "GET /judges", "GET /metrics", "GET /openapi.json"},
}
OPENED["admin"] = OPENED["rank"] | OPENED["read"] | {"GET /keys"}


@pytest.mark.parametrize("scope", OPENED)
async def test_a_scope_opens_its_routes_and_no_other(scope: Scope, tmp_path: Path) -> None:
    async with guarded(tmp_path, scope) as (http, _, _):
        for route in OPENED["admin"]:
            method, path = route.split()
            answer = await http.request(method, path, json={} if method == "POST" else None)
            if route in OPENED[scope]:
                assert answer.status_code in (200, 404, 422), route
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), route
                assert f"may {scope}" in answer.json()["detail"]


async def test_the_list_of_keys_shows_limits_and_no_secrets(tmp_path: Path) -> None:
    async with guarded(tmp_path, "admin", requests_per_minute=7) as (http, _, key):
        answer = await http.get("/keys")
    [shown] = answer.json()["keys"]
    assert (shown["id"], shown["requests_per_minute"]) == (key.id, 7)
    assert "sha256" not in answer.text


async def test_a_key_of_the_environment_has_all_scopes_beside_those_of_the_store(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as opened, client(opened, api_keys=["environment"]) as http:
        _, headers = await made(opened.store, "rank")
        for shown in ({"Authorization": "Bearer environment"}, headers):
            assert (await http.post("/rank", json=GROUP, headers=shown)).status_code == 200
        environment = {"Authorization": "Bearer environment"}
        assert (await http.get("/keys", headers=environment)).status_code == 200


async def test_the_first_key_closes_the_door_and_revoking_the_last_does_not_open_it(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with open_store(str(tmp_path / "podium.db")) as store:
        api_keys = APIKeyCache(store, clock=lambda: now)
        assert await api_keys.authenticate("") == UNRESTRICTED
        key, headers = await made(store, "read")
        now = 2.0
        with pytest.raises(Unauthorized):
            await api_keys.authenticate("")
        assert await api_keys.authenticate(headers["Authorization"]) == key
        await revoke_key(store, key.id)
        now = 4.0
        for authorization in ("", headers["Authorization"]):
            with pytest.raises(Unauthorized):
                await api_keys.authenticate(authorization)


async def test_with_only_revoked_keys_nothing_but_the_probes_answers(tmp_path: Path) -> None:
    async with guarded(tmp_path, "admin") as (http, opened, key):
        await revoke_key(opened.store, key.id)
        statuses = {
            path: (await http.get(path)).status_code
            for path in ("/livez", "/readyz", "/judges", "/metrics", "/keys", "/openapi.json", "/")
        }
    assert statuses == dict.fromkeys(statuses, 401) | {"/livez": 200, "/readyz": 200}


@pytest.mark.parametrize(
    "change",
    [
        "pk_",
        "pk__",
        "pk_{id}_",
        "pk_{id}_{secret}x",
        "pk_x_{secret}",
        "{id}_{secret}",
        "pk_{id}_{secret}\xa0",
        "pk_{id}_{half}",
    ],
)
async def test_nothing_but_the_whole_key_opens(change: str, tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "podium.db")) as store:
        key, headers = await made(store, "rank")
        api_keys = APIKeyCache(store)
        secret = headers["Authorization"].split("_", 2)[2]
        text = change.format(id=key.id, secret=secret, half=secret[:20])
        with pytest.raises(Unauthorized):
            await api_keys.authenticate(f"Bearer {text}")
        assert await api_keys.authenticate(headers["Authorization"]) == key


# The copy of the store's keys


class CountedStore(SQLStore):
    """Counts reads; `down` fails them, `frozen` has them wait."""

    reads = 0
    down = False
    frozen: asyncio.Event | None = None

    async def select(self, query: Any) -> Any:
        self.reads += 1
        if self.frozen:
            await self.frozen.wait()
        if self.down:
            raise StoreUnavailable("down")
        return await super().select(query)


@asynccontextmanager
async def counted(tmp_path: Path) -> AsyncIterator[CountedStore]:
    async with open_store(str(tmp_path / "podium.db")) as store:
        store.__class__ = CountedStore
        assert isinstance(store, CountedStore)
        yield store


async def test_requests_are_let_in_without_a_read_of_the_store_each(tmp_path: Path) -> None:
    now = 0.0
    async with counted(tmp_path) as store:
        key, headers = await made(store, "rank")
        api_keys = APIKeyCache(store, clock=lambda: now)
        store.reads = 0
        known = headers["Authorization"]
        assert {await api_keys.authenticate(known) for _ in range(50)} == {key}
        assert store.reads == 1
        now = 1.9
        await api_keys.authenticate(known)
        assert store.reads == 1
        now = 2.1
        await asyncio.gather(*(api_keys.authenticate(known) for _ in range(50)))
        assert store.reads == 2


async def test_a_service_that_was_ever_guarded_stays_so_whatever_becomes_of_its_store(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with counted(tmp_path) as store:
        api_keys = APIKeyCache(store, clock=lambda: now)
        assert await api_keys.authenticate("") == UNRESTRICTED
        _, headers = await made(store, "rank")
        now = 3.0
        await api_keys.authenticate(headers["Authorization"])
        await store.run_in_transaction(lambda it: it.execute(API_KEYS.delete()))
        now = 6.0
        for shown in ("", headers["Authorization"]):
            with pytest.raises(Unauthorized):
                await api_keys.authenticate(shown)


async def test_keys_are_read_while_somebody_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    async with open_store(path) as store:
        key, _ = await made(store, "rank")
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(5):  # who wanted to write would wait for ten
            assert await list_keys(store) == [key]
        writer.close()


async def test_a_flood_of_unknown_keys_reads_the_store_twice_a_second(tmp_path: Path) -> None:
    now = 0.0
    async with counted(tmp_path) as store:
        await made(store, "rank")
        api_keys = APIKeyCache(store, clock=lambda: now)
        store.reads = 0
        for step in range(1000):
            now = step / 1000
            with pytest.raises(Unauthorized):
                await api_keys.authenticate(f"Bearer pk_{step}_x")
        assert store.reads == 2
        _, headers = await made(store, "rank")
        now = 1.1
        await api_keys.authenticate(headers["Authorization"])  # it need not wait for two seconds


async def test_without_the_store_the_last_copy_serves_for_a_minute_and_then_nobody(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with counted(tmp_path) as store:
        key, headers = await made(store, "rank")
        api_keys = APIKeyCache(store, ["environment"], clock=lambda: now)
        assert await api_keys.authenticate(headers["Authorization"]) == key
        store.down = True
        now = 59.0
        assert await api_keys.authenticate(headers["Authorization"]) == key
        now = 62.0
        with pytest.raises(StoreUnavailable):
            await api_keys.authenticate(headers["Authorization"])
        await api_keys.authenticate("Bearer environment")
        store.down = False
        now = 65.0
        assert await api_keys.authenticate(headers["Authorization"]) == key


async def test_while_the_store_says_nothing_only_who_asks_first_waits_for_it(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with counted(tmp_path) as store:
        key, headers = await made(store, "rank")
        api_keys = APIKeyCache(store, clock=lambda: now)
        known = headers["Authorization"]
        await api_keys.authenticate(known)
        store.reads, store.frozen = 0, asyncio.Event()
        now = 2.5
        first = asyncio.create_task(api_keys.authenticate(known))
        await until(lambda: store.reads == 1)
        now = 3.6
        async with asyncio.timeout(10):  # 50 s if each waited
            assert {await api_keys.authenticate(known) for _ in range(50)} == {key}
        store.frozen.set()
        assert await first == key


# How often a key may ask


async def test_of_100_requests_at_once_exactly_as_many_pass_as_the_limit_says(
    tmp_path: Path,
) -> None:
    async with guarded(tmp_path, "rank", requests_per_minute=10) as (http, _, _):
        answers = await asyncio.gather(*(http.post("/rank", json=GROUP) for _ in range(100)))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 90}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "key_rate_limited"
    assert refused.json()["retryable"] is True
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_each_group_of_a_batch_counts_as_one_request(tmp_path: Path) -> None:
    batch = {"groups": [group("5", str(index), **REFERENCE) for index in range(20)]}
    async with guarded(tmp_path, "rank", requests_per_minute=8) as (http, _, _):
        answer = await http.post("/rank/batch", json=batch)
        again = await http.post("/rank", json=GROUP)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    codes = Counter(line.get("problem", {}).get("code", "ranked") for line in lines)
    assert codes == {"ranked": 8, "key_rate_limited": 12}
    assert again.status_code == 429


async def test_a_deadline_holds_while_a_request_is_counted(tmp_path: Path) -> None:
    asked = {**GROUP, "deadline_s": 0.3}
    async with guarded(tmp_path, "rank", requests_per_minute=100) as (http, _, _):
        assert (await http.post("/rank", json=GROUP)).status_code == 200
        with closing(sqlite3.connect(tmp_path / "podium.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # who writes waits for 10 s
            async with asyncio.timeout(5):
                answer, batch = await asyncio.gather(
                    http.post("/rank", json=asked),
                    http.post("/rank/batch", json={"groups": [asked]}),
                )
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "for counting the request" in answer.json()["detail"]
    assert json.loads(batch.text)["problem"]["code"] == "deadline_exceeded"


# Whose ranking it is


class NotingRanker(Ranker):
    """Notes who asks."""

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


async def test_a_ranking_knows_the_key_that_asks_and_its_spend_limit(tmp_path: Path) -> None:
    limit = SpendLimit(usd=5.0, per="month")
    async with service(tmp_path) as opened:
        key, headers = await made(opened.store, "rank", spend_limit=limit)
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


async def test_of_groups_at_once_a_key_has_as_many_judged_as_its_limit_pays_for(
    tmp_path: Path,
) -> None:
    price = {"prompt": 0.0, "completion": 1000.0}  # a reply has 10 tokens: a cent
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, price=price, max_tokens=500)) as opened,
        client(opened) as http,
    ):
        _, headers = await made(
            opened.store, "rank", "admin", spend_limit=SpendLimit(usd=0.525, per="month")
        )
        asked = [group("5", "five", "x" * size) for size in range(2, 12)]
        answers = await asyncio.gather(
            *(http.post("/rank", json=each, headers=headers) for each in asked)
        )
        statuses = Counter(answer.status_code for answer in answers)
        [shown] = (await http.get("/keys", headers=headers)).json()["keys"]
    assert statuses == {200: 3, 402: 7}  # a fourth might cost half a dollar beside the .03 spent
    refused = next(answer.json() for answer in answers if answer.status_code == 402)
    assert (refused["code"], refused["retryable"]) == ("key_spend_limit", False)
    assert (shown["spent_usd"], shown["reserved_usd"]) == (0.03, 0.0)
    assert judge.calls == 3


async def test_a_key_without_money_fails_nobody_else_who_asks_for_the_same(tmp_path: Path) -> None:
    price = {"prompt": 0.0, "completion": 1000.0}
    async with (
        ScriptedJudge(always=scores(by_length)).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, price=price)) as opened,
        client(opened) as http,
    ):
        _, poor = await made(opened.store, "rank", spend_limit=SpendLimit(usd=0.01))
        _, rich = await made(opened.store, "rank")
        answers = await asyncio.gather(
            *(
                http.post("/rank", json=group("5", "five"), headers=key)
                for key in (poor, rich, rich)
            )
        )
    assert [answer.status_code for answer in answers] == [402, 200, 200]
    assert judge.calls == 1


async def test_a_key_with_a_limit_asks_no_judge_whose_price_is_unknown(tmp_path: Path) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        _, headers = await made(opened.store, "rank", spend_limit=SpendLimit(usd=1.0))
        refused = await http.post("/rank", json=group("5", "five"), headers=headers)
    assert refused.status_code == 402
    assert "judge 'main' no price" in refused.json()["detail"]
    assert judge.calls == 0


# Nowhere


async def test_a_secret_is_in_no_log_store_error_or_page(tmp_path: Path) -> None:
    made = await podium("keys", "create", "trainer", "--scope", "admin", "--json", cwd=tmp_path)
    key = json.loads(made.out)["key"]
    secret = key.split("_", 2)[2]
    with running("--log-level", "debug", cwd=tmp_path, PODIUM_API_KEY="env-secret") as process:
        told = ""
        for shown in (key, "env-secret", f"{key}x", f"x{key}"):
            async with process.client(authorization=f"Bearer {shown}") as http:
                for path in ("/keys", "/judges", "/metrics", "/openapi.json", "/readyz", "/no"):
                    told += (await http.get(path)).text
                told += (await http.post("/rank", json=GROUP)).text
                told += (await http.post("/rank/batch", json={"groups": [GROUP]})).text
        told += process.err
    kept = sqlite3.connect(tmp_path / "podium.db")
    told += "\n".join(kept.iterdump())
    kept.close()
    assert "trainer" in told
    assert secret not in told
    assert "env-secret" not in told
    assert not_in_files(secret, tmp_path)


# Where the time goes


def timed(answer: httpx.Response) -> dict[str, float]:
    """The Server-Timing header, in milliseconds."""
    parts = (part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    return {name: float(duration) for name, duration in parts}


async def test_each_answer_of_rank_says_where_its_time_went(tmp_path: Path) -> None:
    async with guarded(tmp_path, "rank") as (http, _, _):
        ranked = timed(await http.post("/rank", json=GROUP))
        refused = timed(await http.post("/rank", json={}))
        unknown = timed(await http.post("/rank", json={}, headers={"Authorization": "Bearer x"}))
    for times in (ranked, refused, unknown):
        assert list(times) == ["queue", "judge", "overhead"]
        assert times["queue"] == times["judge"] == 0
    assert ranked["overhead"] > 0


async def test_who_is_not_let_in_is_counted_under_the_route_that_was_asked_for(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    asked = {"/judges": 401, "/rankings/rk_1": 401, "/nothing/here": 401, "/keys": 403}
    async with guarded(tmp_path, "read") as (http, opened, _):
        for path, status in asked.items():
            headers = {} if status == 403 else {"Authorization": ""}
            assert (await http.get(path, headers=headers)).status_code == status
        routes = [line["route"] for line in logged if line["event"] == "request"]
        assert routes == ["/judges", "/rankings/{ranking_id}", "unrouted", "/keys"]
        labels = {"route": "/rankings/{ranking_id}", "status": "401"}
        counted = opened.metrics.registry.get_sample_value("podium_requests_total", labels)
        assert counted == 1


@pytest.mark.parametrize("path", ["/rankings/", "/rankings/a/b", "/rankings", "/rank/", "", "/"])
def test_a_path_that_is_no_route_of_ours_makes_no_series(path: str) -> None:
    assert route_of(path) == "unrouted"


async def test_every_route_is_counted_under_its_own_path(tmp_path: Path) -> None:
    async with service(tmp_path) as opened:
        routes = list(create_app(opened).openapi()["paths"])
    assert "/rank" in routes
    assert [route_of(path.replace("{ranking_id}", "rk_1")) for path in routes] == routes
