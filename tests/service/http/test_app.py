"""The HTTP face: the wire as the design has it, batches, keys, request ids, and who hangs up."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from structlog.testing import capture_logs

from podium_service.errors import ConfigError
from podium_service.http.app import create_app
from podium_service.http.service import Service
from podium_service.ranking.pipeline import Ranker
from podium_service.schemas import Ranking, RankRequest
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    fails,
    hangs,
    says,
    scores,
    until,
)
from tests.service.helpers import client, group, judges_file, llm, service
from tests.service.process import Podium, in_flight, running

pytestmark = pytest.mark.anyio

KEY = "podium-key-1"
GOOD = scores(by_length)
REFERENCE = {"reference": "5"}
PRICE = {"prompt": 1.0, "cached": 0.5, "completion": 10.0}


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What the service logs; otherwise a bug's traceback is printed in colour, in ten seconds."""
    with capture_logs() as lines:
        yield lines


@asynccontextmanager
async def judged(
    tmp_path: Path, step: Step, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, ScriptedJudge]]:
    """A client of a service whose judge `main` takes this step, always."""
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, **settings)) as opened,
        client(opened) as http,
    ):
        yield http, judge


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service without a judges file: it compares with a reference."""
    async with service(tmp_path) as opened, client(opened) as http:
        yield http


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The lines of a batch, in the order of the groups."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n") or not answer.text
    lines = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    return sorted(lines, key=lambda line: int(line["index"]))


# POST /rank


async def test_the_answer_of_rank_is_the_wire_key_by_key(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, price=PRICE) as (http, _):
        answer = await http.post("/rank", json=group("5", "five" * 50, group_id="step-12/prompt-7"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    ranking = answer.json()
    assert ranking.pop("id").startswith("rk_")
    worse, better = ranking.pop("results")
    assert ranking == {
        "group_id": "step-12/prompt-7",
        "judge": "main",
        "fallback_from": None,
        "model": "m",
        "method": "listwise",
        "passes": 4,
        "reliability": 1.0,
        "noise": None,
        "jurors": [],
        "cached": False,
        "usage": {
            "calls": 4,
            "prompt_tokens": 400,
            "cached_tokens": 160,
            "completion_tokens": 40,
            "cost_usd": pytest.approx((240 * 1 + 160 * 0.5 + 40 * 10) / 1e6),
        },
    }
    assert 0 < worse.pop("score") < better.pop("score") < 1
    assert worse == {
        "id": "t0",
        "rank": 2.0,
        "reward": 0.0,
        "stderr": 0.0,
        "explanation": "t0 is what it is",
        "flags": [],
    }
    assert better == {**worse, "id": "t1", "rank": 1.0, "reward": 1.0, "explanation": (
        "t1 is what it is"
    )}  # fmt: skip


async def test_what_is_not_known_is_null_not_left_out(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, passes=1) as (http, _):
        ranking = (await http.post("/rank", json=group("5", "five"))).json()
    assert ranking["reliability"] is None
    assert ranking["group_id"] is None
    assert ranking["usage"]["cost_usd"] is None
    assert [result["stderr"] for result in ranking["results"]] == [None, None]


async def test_asked_again_the_answer_comes_from_the_store_for_nothing(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, price=PRICE) as (http, judge):
        first = (await http.post("/rank", json=group("5", "five", group_id="a"))).json()
        again = (await http.post("/rank", json=group("5", "five", group_id="b"))).json()
    assert judge.calls == 4
    assert again["usage"] == {
        "calls": 0, "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0,
        "cost_usd": again["usage"]["cost_usd"],
    }  # fmt: skip
    assert not again["usage"]["cost_usd"]
    assert again == first | {"group_id": "b", "cached": True, "usage": again["usage"]}


async def test_a_deadline_that_passes_is_a_504_that_may_be_asked_again(tmp_path: Path) -> None:
    async with judged(tmp_path, hangs) as (http, _):
        answer = await http.post("/rank", json=group("5", "five", deadline_s=0.1))
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.json()["retryable"] is True


async def test_a_rate_limited_judge_is_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    async with judged(tmp_path, fails(429, retry_after="7"), attempts=1) as (http, _):
        answer = await http.post("/rank", json=group("5", "five"))
    assert (answer.status_code, answer.json()["code"]) == (503, "judge_rate_limited")
    assert answer.headers["retry-after"] in ("6", "7")
    assert answer.json()["retryable"] is True


async def test_a_judge_without_credit_is_a_502_that_need_not_be_asked_again(
    tmp_path: Path,
) -> None:
    async with judged(tmp_path, fails(429, "no quota left")) as (http, _):
        answer = await http.post("/rank", json=group("5", "five"))
    assert (answer.status_code, answer.json()["code"]) == (502, "judge_quota_exhausted")
    assert answer.json()["retryable"] is False
    assert "retry-after" not in answer.headers


async def test_a_store_that_does_not_answer_is_a_503_that_may_be_asked_again(
    tmp_path: Path,
) -> None:
    async with service(tmp_path) as opened, client(opened) as http:
        database = sqlite3.connect(tmp_path / "podium.db")
        database.execute("DROP TABLE rankings")
        database.close()
        answer = await http.post("/rank", json=group("5", "6", **REFERENCE))
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.json()["retryable"] is True


def reports(**usage: Any) -> Step:
    """A good verdict with this `usage`."""

    def step(asked: Asked) -> Answer:
        body = GOOD(asked).body
        assert isinstance(body, dict)
        return Answer({**body, "usage": usage})

    return step


def explains(explanation: str) -> Step:
    """A good verdict with these words."""

    def step(asked: Asked) -> Answer:
        entry = {"explanation": explanation, "score": 0.5}
        return says(json.dumps(dict.fromkeys(asked.shown, entry)))(asked)

    return step


@pytest.mark.parametrize(
    "step",
    [
        explains("\ud800"),
        explains("\0"),
        says(None),
        says("\ud800"),
        says("{}", finish_reason={"reason": "stop"}),  # type: ignore[arg-type]
        says("{}", refusal={"reason": "no"}),
        says("{}", refusal=True),
        says([{"type": "text", "text": "{}"}]),  # type: ignore[arg-type]
        reports(prompt_tokens=10, prompt_tokens_details={"cached_tokens": 4000}),
        reports(prompt_tokens=-1, completion_tokens=-1),
        reports(prompt_tokens=1e300, completion_tokens="many"),
        reports(prompt_tokens=10, prompt_tokens_details=[]),
        lambda asked: Answer("null"),
        lambda asked: Answer('{"choices": [null]}'),
        lambda asked: Answer('{"choices": [{"message": "x"}]}'),
        lambda asked: Answer("[" * 100_000),
        lambda asked: Answer("", status=204),
        lambda asked: Answer("\ud800".encode(errors="replace").decode(), status=500),
        lambda asked: Answer('{"error": "no"}', status=400),
        lambda asked: Answer('{"error": ["no"]}', status=404),
    ],
    ids=[
        "half a character",
        "a NUL",
        "nothing",
        "half a character alone",
        "an odd finish_reason",
        "an odd refusal",
        "refusal true",
        "content in parts",
        "more cached than prompt tokens",
        "negative tokens",
        "tokens in words",
        "odd token details",
        "null",
        "a null choice",
        "an odd message",
        "nesting without end",
        "no content",
        "500",
        "an odd 400",
        "an odd 404",
    ],
)
async def test_whatever_a_judge_says_is_a_ranking_or_a_typed_failure(
    step: Step, tmp_path: Path
) -> None:
    async with judged(tmp_path, step, attempts=1, price=PRICE) as (http, _):
        answer = await http.post("/rank", json=group("5", "five"))
    assert answer.is_success or answer.json()["code"] != "internal"


# POST /rank/batch


async def test_a_bad_group_fails_its_own_line_only(tmp_path: Path) -> None:
    groups = [
        group("5", "five", group_id="good"),
        group("5", group_id="alone"),
        7,
        group("5", "five", group_id="lost", judge="nope"),
        group("5", "5", group_id="same"),
        {"group_id": 7},
    ]
    async with judged(tmp_path, GOOD) as (http, _):
        answer = await http.post("/rank/batch", json={"groups": groups})
    lines = lines_of(answer)
    assert [(line["index"], line["group_id"], line["status"]) for line in lines] == [
        (0, "good", "ranked"),
        (1, "alone", "failed"),
        (2, None, "failed"),
        (3, "lost", "failed"),
        (4, "same", "ranked"),
        (5, None, "failed"),
    ]
    for line in lines:
        told = "ranking" if line["status"] == "ranked" else "problem"
        assert line.keys() == {"index", "group_id", "status", told}
    problems = [line["problem"] for line in lines if "problem" in line]
    assert [p["code"] for p in problems] == ["invalid_request"] * 2 + ["unknown_judge"] + [
        "invalid_request"
    ]
    assert {p["request_id"] for p in problems} == {answer.headers["x-request-id"]}
    assert problems[0]["errors"][0]["field"] == "trajectories"


async def test_a_line_is_the_same_ranking_as_rank_gives_nulls_included(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, passes=1) as (http, _):
        alone = await http.post("/rank", json=group("5", "five"))
        [line] = lines_of(await http.post("/rank/batch", json={"groups": [group("5", "five")]}))
    assert line["ranking"]["reliability"] is None
    assert line["ranking"] == alone.json() | {
        "cached": True,
        "usage": line["ranking"]["usage"],
    }


async def test_a_group_id_over_the_cap_does_not_come_back_in_its_line(
    http: httpx.AsyncClient,
) -> None:
    bad = group("5", "6", group_id="x" * 100_000, **REFERENCE)
    answer = await http.post("/rank/batch", json={"groups": [bad]})
    assert lines_of(answer)[0]["status"] == "failed"
    assert len(answer.content) < 4000


async def test_a_batch_of_no_groups_has_no_lines(http: httpx.AsyncClient) -> None:
    assert lines_of(await http.post("/rank/batch", json={"groups": []})) == []


async def test_the_deadline_of_a_batch_is_for_the_groups_that_name_none(tmp_path: Path) -> None:
    groups = [group("5", "five"), group("5", "six", deadline_s=0.25)]
    async with judged(tmp_path, hangs) as (http, _):
        lines = lines_of(
            await http.post("/rank/batch", json={"groups": groups, "deadline_s": 0.125})
        )
    assert [line["problem"]["detail"].split(" s ")[0] for line in lines] == ["0.125", "0.25"]


async def test_the_same_group_twice_in_a_batch_is_paid_once(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD) as (http, judge):
        lines = lines_of(await http.post("/rank/batch", json={"groups": [group("5", "five")] * 3}))
    assert judge.calls == 4
    assert len({line["ranking"]["id"] for line in lines}) == 1


async def test_a_slow_group_holds_up_no_other_line(tmp_path: Path) -> None:
    slow = ScriptedJudge(always=GOOD, hold=1000)
    async with (
        slow.serving(),
        ScriptedJudge(always=GOOD).serving() as fast,
        served(tmp_path, slow=llm(slow.url), fast=llm(fast.url)) as (http, _),
    ):
        groups = [group("5", "five", judge="slow"), group("6", "six", judge="fast")]
        async with http.stream("POST", "/rank/batch", json={"groups": groups}) as answer:
            lines = answer.aiter_lines()
            assert json.loads(await anext(lines))["index"] == 1
            await until(lambda: slow.in_flight == 4)  # and still unanswered
            slow.hold = 0
            assert json.loads(await anext(lines))["index"] == 0


# GET


async def test_a_past_ranking_is_found_as_its_first_caller_got_it(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD) as (http, _):
        first = (await http.post("/rank", json=group("5", "five", group_id="first"))).json()
        await http.post("/rank", json=group("five", "5", group_id="second"))
        found = await http.get(f"/rankings/{first['id']}")
    assert found.status_code == 200
    assert found.json() == first


@pytest.mark.parametrize(
    ("ranking_id", "status"),
    [("rk_0", 404), ("%F0%9F%8F%86", 404), ("%ED%A0%80", 404), ("x" * 65, 422), ("rk%00", 422)],
)
async def test_a_ranking_that_was_never_made_is_a_problem(
    ranking_id: str, status: int, http: httpx.AsyncClient
) -> None:
    answer = await http.get(f"/rankings/{ranking_id}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_judges_are_shown_without_their_keys_and_with_whether_they_answer(
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
async def test_a_key_that_cannot_be_sent_is_refused_at_the_start_and_not_told(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ConfigError, match="the key in JUDGE_KEY") as caught:
        async with judged(tmp_path, GOOD, api_key_env="JUDGE_KEY"):
            pass
    assert "very" not in str(caught.value)


async def test_a_key_that_was_read_from_a_file_is_sent_without_its_newline(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[MutableMapping[str, Any]],
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret\n")
    async with judged(tmp_path, GOOD, attempts=1, api_key_env="JUDGE_KEY") as (http, _):
        ranked = await http.post("/rank", json=group("5", "five"))
        shown = await http.get("/judges")
    assert ranked.is_success
    assert "sk-very" not in ranked.text + shown.text + str(logged)


async def test_metrics_count_requests_rankings_calls_tokens_and_cost(tmp_path: Path) -> None:
    async with judged(tmp_path, GOOD, price=PRICE) as (http, _):
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


async def test_failing_judges_are_counted_by_what_went_wrong(tmp_path: Path) -> None:
    async with judged(tmp_path, says("no verdict"), passes=1) as (http, _):
        await http.post("/rank", json=group("5", "five"))
        text = (await http.get("/metrics")).text
    assert 'podium_rankings_total{judge="main",outcome="verdict_invalid"} 1.0' in text
    assert 'podium_judge_faults_total{judge="main"} 2.0' in text


async def test_readiness_goes_off_while_draining_and_requests_are_still_answered(
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


async def test_the_wire_is_described_at_openapi_json(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    assert set(described["paths"]) == {
        "/livez", "/readyz", "/metrics", "/rank", "/rank/batch", "/rankings/{ranking_id}",
        "/judges", "/keys",
    }  # fmt: skip
    assert "RankRequest" in described["components"]["schemas"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/rankings", 404, "not_found"),
        ("GET", "/rank", 405, "method_not_allowed"),
        ("BREW", "/rank", 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(
    method: str, path: str, status: int, code: str, http: httpx.AsyncClient
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("allow" in answer.headers) == (status == 405)  # RFC 9110, 15.5.6


# Keys, request ids, bugs


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer kéy"],
)
async def test_without_the_key_only_the_probes_answer(
    authorization: str | None, tmp_path: Path
) -> None:
    headers = [] if authorization is None else [(b"Authorization", authorization.encode())]
    async with service(tmp_path) as opened, client(opened, api_keys=[KEY]) as http:
        paths = ["/openapi.json", "/", "/livez/", *create_app(opened).openapi()["paths"]]
        for path in paths:
            for method in ("GET", "POST", "OPTIONS"):
                answer = await http.request(method, path, headers=headers)
                open_to_all = path in ("/livez", "/readyz")
                assert (answer.status_code == 401) is not open_to_all, (method, path)
                if not open_to_all:
                    assert answer.json()["code"] == "unauthorized"
                    assert answer.headers["www-authenticate"] == "Bearer"
                    assert answer.json()["request_id"] == answer.headers["x-request-id"]
                    assert KEY not in answer.text


async def test_any_of_the_keys_opens_the_door(tmp_path: Path) -> None:
    async with service(tmp_path) as opened, client(opened, api_keys=["other", KEY]) as http:
        for authorization in (f"Bearer {KEY}", f"bearer {KEY}", "Bearer other"):
            answer = await http.get("/judges", headers={"Authorization": authorization})
            assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/nowhere", "/judges", "/rankings/rk_0"])
async def test_a_sane_request_id_comes_back(path: str, http: httpx.AsyncClient) -> None:
    answer = await http.get(path, headers={"X-Request-ID": "run.7:step_12-a"})
    assert answer.headers["x-request-id"] == "run.7:step_12-a"


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 65, "é".encode(), b"a\tb", b"<b>", b'{"a'])
async def test_a_request_id_that_is_not_sane_is_replaced(
    given: bytes, http: httpx.AsyncClient
) -> None:
    answers = [await http.get("/livez", headers={b"X-Request-ID": given}) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids[0] != ids[1]
    assert all(each.isalnum() and len(each) == 16 for each in ids)


class BrokenRanker:
    """A bug: it raises what nobody foresaw, with a text in it that must not get out."""

    async def rank(self, request: RankRequest) -> Ranking:
        raise LookupError("zebra-7f3a91")


async def test_a_bug_is_a_500_that_tells_nothing_but_the_request_id(
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
    codes = [line["problem"]["code"] for line in lines_of(batch)]
    assert codes == ["internal", "invalid_request"]
    for text in (answer.text, batch.text):
        assert "zebra" not in text
        assert "Traceback" not in text
        assert "LookupError" not in text
    bugs = [line for line in logged if line["event"] == "bug"]
    assert [line["log_level"] for line in bugs] == ["error", "error"]


async def test_a_disguised_body_is_not_read_by_a_service_without_keys(
    http: httpx.AsyncClient,
) -> None:
    # A web page may send text/plain to loopback without asking first.
    answer = await http.post(
        "/rank", content=json.dumps(group("5", "6", **REFERENCE)),
        headers={"Content-Type": "text/plain", "Origin": "http://evil.example"},
    )  # fmt: skip
    assert answer.status_code == 415
    assert "access-control-allow-origin" not in answer.headers


# Over TCP, where a caller can hang up.


@asynccontextmanager
async def served(
    tmp_path: Path, **judges: dict[str, Any]
) -> AsyncIterator[tuple[httpx.AsyncClient, Podium]]:
    """A client of a service in a process of its own."""
    config = judges_file(tmp_path / "judges.yaml", **judges)
    with running("--config", str(config), cwd=tmp_path) as process:
        async with process.client() as http:
            yield http, process


async def hung_up_on(process: Podium, path: str, body: bytes, length: int) -> asyncio.StreamWriter:
    """A connection on which this was sent, to be closed by the caller."""
    assert process.url
    _, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rsplit(":", 1)[1]))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % length + body)
    return writer


@pytest.mark.parametrize("path", ["/rank", "/rank/batch"])
async def test_a_caller_who_hangs_up_cancels_the_judge_calls(path: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = group("5", "five")
    body = json.dumps(asked if path == "/rank" else {"groups": [asked]}).encode()
    async with (
        ScriptedJudge(always=hangs).serving() as judge,
        served(tmp_path, main=llm(judge.url)) as (http, process),
    ):
        writer = await hung_up_on(process, path, body, len(body))
        await until(lambda: judge.in_flight == 4)
        assert await in_flight(http) == 4
        writer.close()
        await until(lambda: _logged_request(process, path))

        async def idle() -> bool:
            return await in_flight(http) == 0

        await until(idle)
        assert [line for line in process.logs if line["level"] == "error"] == []


async def test_a_caller_who_hangs_up_while_sending_is_no_bug(tmp_path: Path) -> None:
    async with (
        ScriptedJudge().serving() as judge,
        served(tmp_path, main=llm(judge.url)) as (http, process),
    ):
        writer = await hung_up_on(process, "/rank", b"{", 1000)
        await writer.drain()
        writer.close()
        await until(lambda: _logged_request(process, "/rank"))
        assert [line for line in process.logs if line["level"] == "error"] == []
        assert 'status="500"' not in (await http.get("/metrics")).text


def _logged_request(process: Podium, route: str) -> bool:
    return any(line["route"] == route for line in process.logged("request"))
