"""The series of the metrics, against what scripted judges did."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.http.access.api_key import create_key
from podium_service.http.access.api_key_store import add_key
from podium_service.judges.endpoint.circuit_breaker import FAILURES
from podium_service.schemas import AssumedNoise, JurorResult, Ranking, Usage
from podium_service.telemetry.metrics import Metrics
from tests.fakes import Answer, Asked, ScriptedJudge, by_length, fails, later, says, scores, until
from tests.service.helpers import client, group, judges_file, llm, request, service
from tests.service.process import running

pytestmark = pytest.mark.anyio

GOOD = scores(by_length)
PRICE = {"prompt": 1.0, "cached": 0.5, "completion": 2.0}


async def read_series(http: httpx.AsyncClient) -> dict[str, float]:
    """Return the value of each series by its name and labels."""
    text = (await http.get("/metrics")).text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


@asynccontextmanager
async def client_of_judges(
    tmp_path: Path, *judges: ScriptedJudge, **settings: dict[str, Any]
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service with these judges, named as their settings are."""
    configured = {
        name: llm(judge.url, passes=1, **more)
        for judge, (name, more) in zip(judges, settings.items(), strict=True)
    }
    async with service(tmp_path, **configured) as opened, client(opened) as http:
        yield http


async def test_the_series_add_up_to_what_the_judges_did(tmp_path: Path) -> None:
    main = ScriptedJudge([fails(503), GOOD, says("no verdict"), GOOD, fails(401)])
    late = ScriptedJudge([later(GOOD, 60), GOOD])
    poor = ScriptedJudge()
    async with main.serving(), late.serving(), poor.serving(), client_of_judges(
        tmp_path, main, late, poor,
        main={"price": PRICE},
        late={"hedge_after_s": 0.05},
        poor={"price": PRICE, "spend": {"usd": 1e-6}},
    ) as http:  # fmt: skip
        for text in ("a", "b", "a", "c"):  # retried, corrected, cached, refused
            await http.post("/rank", json=group(text, f"{text}, and longer"))
        await http.post("/rank", json=group("a", "b", judge="late"))
        await http.post("/rank", json=group("p", "q", judge="poor"))
        values = await read_series(http)
    rankings = {
        ("main", "ranked"): 2, ("main", "cached"): 1, ("main", "judge_rejected"): 1,
        ("late", "ranked"): 1, ("poor", "judge_spend_limit"): 1,
    }  # fmt: skip
    calls = {
        ("main", "ok"): 3, ("main", "judge_unavailable"): 1, ("main", "judge_rejected"): 1,
        ("late", "ok"): 1, ("late", "cancelled"): 1,
    }  # fmt: skip
    assert by_label(values, "podium_rankings_total", "outcome") == rankings
    assert by_label(values, "podium_judge_calls_total", "outcome") == calls
    assert by_label(values, "podium_judge_retries_total", "code") == {
        ("main", "judge_unavailable"): 1
    }
    assert by_label(values, "podium_judge_refused_total", "code") == {
        ("poor", "judge_spend_limit"): 1
    }
    expected = {
        'podium_requests_total{route="/rank",status="200"}': 4,
        'podium_requests_total{route="/rank",status="502"}': 2,
        'podium_judge_hedges_total{judge="late"}': 1,
        'podium_judge_faults_total{judge="main"}': 1,
        'podium_judge_tokens_total{judge="main",kind="prompt"}': 300,
        'podium_judge_cost_usd_total{judge="main"}': pytest.approx(3 * 120e-6 - 3 * 20e-6),
        'podium_judge_queue_seconds_count{judge="main"}': main.calls,
        'podium_judge_call_seconds_count{judge="main"}': main.calls,
        'podium_judge_waiting{judge="main"}': 0,
        'podium_judge_in_flight{judge="late"}': 0,
        f'podium_endpoint_in_flight{{base_url="{late.url}",judge="late"}}': 0,
        f'podium_endpoint_limit{{base_url="{late.url}",judge="late"}}': 4,
        f'podium_endpoint_breaker_open{{base_url="{late.url}",judge="late"}}': 0,
    }
    assert {name: values.get(name) for name in expected} == expected


async def test_each_problem_is_counted_once_by_its_code(
    tmp_path: Path,
) -> None:
    key, text = create_key("trainer", ["rank"], requests_per_minute=5)
    groups = [group(), *(group("x", "y", judge="none") for _ in range(5))]
    async with (
        ScriptedJudge([GOOD, fails(401)]).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, audit=0)) as opened,
        client(opened, api_keys=["environment"]) as http,
    ):
        await add_key(opened.store, key)
        await http.post("/rank", json=group("a", "b"))
        http.headers["Authorization"] = f"Bearer {text}"
        await http.get("/judges")
        await http.post("/rank", content="{")  # without a content-type
        await http.post("/rank", json=group())
        for answer in ("a", "c"):  # ranked, refused
            await http.post("/rank", json=group(answer, f"{answer} and longer"))
        await http.post("/rank/batch", json={"groups": groups})
        await http.post("/rank", json=group("a", "b"))
        http.headers["Authorization"] = "Bearer environment"
        await http.get("/nowhere")
        await http.get("/rank")
        values = await read_series(http)
    name = "podium_problems_total"
    assert {each: value for each, value in values.items() if each.startswith(name)} == {
        f'{name}{{code="{code}"}}': number
        for code, number in {
            "unauthorized": 1, "forbidden": 1, "unsupported_media_type": 1, "invalid_request": 2,
            "judge_rejected": 1, "unknown_judge": 3, "key_rate_limited": 3, "not_found": 1,
            "method_not_allowed": 1,
        }.items()
    }  # fmt: skip


async def test_requests_and_spending_are_counted_by_key(tmp_path: Path) -> None:
    bounded, text = create_key("bounded", ["rank"], requests_per_minute=2)
    async with (
        ScriptedJudge(always=GOOD).serving() as judge,
        service(tmp_path, main=llm(judge.url, passes=1, price=PRICE)) as opened,
        client(opened, api_keys=["environment"]) as http,
    ):
        await add_key(opened.store, bounded)
        http.headers["Authorization"] = f"Bearer {text}"
        groups = [group("a", f"{text} and longer") for text in ("b", "c", "d")]
        await http.post("/rank/batch", json={"groups": groups})
        http.headers["Authorization"] = "Bearer environment"
        await http.post("/rank", json=group("a", "e and longer"))
        await http.post("/rank", json=group("a", "e and longer"))  # from the store
        values = await read_series(http)
    requests, cost = "podium_key_requests_total", "podium_key_cost_usd_total"
    assert values[f'{requests}{{key="bounded",outcome="accepted"}}'] == 2
    assert values[f'{requests}{{key="bounded",outcome="refused"}}'] == 1
    assert values[f'{requests}{{key="none",outcome="accepted"}}'] == 2
    # A call has 100 tokens, 40 of them cached, and 10 tokens of reply: 60 + 20 + 20 micro-dollars.
    assert values[f'{cost}{{key="bounded"}}'] == pytest.approx(200e-6)
    assert values[f'{cost}{{key="none"}}'] == pytest.approx(100e-6)


def test_keys_beyond_the_first_100_share_one_series() -> None:
    metrics = Metrics()
    for name in [*(f"key-{index}" for index in range(150)), "key-3", ""]:
        metrics.count_usage("main", name, Usage(calls=1, cost_usd=0.5))
    lines = metrics.render().decode().splitlines()
    name = "podium_key_cost_usd_total{"
    spent = dict(line.rsplit(" ", 1) for line in lines if line.startswith(name))
    assert len(spent) == 102
    assert spent['podium_key_cost_usd_total{key="key-3"}'] == "1.0"
    assert spent['podium_key_cost_usd_total{key="other"}'] == "25.0"
    assert spent['podium_key_cost_usd_total{key="none"}'] == "0.5"


async def test_refused_connections_are_counted_as_problems(tmp_path: Path) -> None:
    with running("--max-connections", "2", cwd=tmp_path) as process:
        async with process.client() as http:
            assert (await http.get("/livez")).is_success
            address = http.base_url.host, http.base_url.port
            reader, writer = await asyncio.open_connection(*address)
            full, one_too_many = await asyncio.open_connection(*address)
            assert (await full.read()).startswith(b"HTTP/1.1 429 ")
            writer.write(b"no HTTP\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            for each in (writer, one_too_many):
                each.close()
            values = await read_series(http)
    for code in ("overloaded", "malformed_request"):
        assert values[f'podium_problems_total{{code="{code}"}}'] == 1


def by_label(series: dict[str, float], metric: str, label: str) -> dict[tuple[str, str], float]:
    """Return the values of a metric by its judge and another label."""
    values = {}
    for name, value in series.items():
        if name.startswith(f"{metric}{{"):
            pairs = (pair.split("=") for pair in name[len(metric) + 1 : -1].split(","))
            labels = {key: json.loads(quoted) for key, quoted in pairs}
            values[labels["judge"], labels[label]] = value
    return values


async def test_the_worst_case_of_a_call_is_shown_until_it_is_settled(
    tmp_path: Path,
) -> None:
    name, judge = 'podium_judge_reserved_usd{judge="main"}', ScriptedJudge(always=GOOD, hold=2)
    settings = {"price": PRICE, "spend": {"usd": 5.0}, "max_tokens": 1000}
    async with judge.serving(), client_of_judges(tmp_path, judge, main=settings) as http:
        first = asyncio.create_task(http.post("/rank", json=group("a", "b")))
        await until(lambda: judge.calls == 1)
        reserved = (await read_series(http))[name]
        await http.post("/rank", json=group("c", "d"))
        await first
        assert 2e-6 * 1000 < reserved < 2e-6 * 1000 + 1e-6 * 16_000  # by its tokens and bytes
        assert (await read_series(http))[name] == pytest.approx(0)


async def test_a_replaced_judge_shows_zero_even_while_a_call_is_open(
    tmp_path: Path,
) -> None:
    dead, judge = "http://127.0.0.1:9/v1", ScriptedJudge(always=GOOD, hold=1000)

    def shown(url: str, name: str = "main") -> list[float | None]:
        names = ("in_flight", "limit", "breaker_open")
        labels = {"judge": name, "base_url": url}
        value = opened.metrics.registry.get_sample_value
        return [value(f"podium_endpoint_{name}", labels) for name in names]

    async with judge.serving():
        both = llm(judge.url, passes=1, base_urls=[judge.url, dead])
        async with service(tmp_path, main=both, gone=llm(dead)) as opened:
            judges, rank = opened.ranker.judges, opened.ranker.rank
            assert shown(judge.url) == shown(dead) == [0, 4, 0]
            living, dying = judges.roster.llms["main"].endpoints
            for _ in range(FAILURES):
                dying.breaker.record_failure(0, now=1e12)
            first = asyncio.create_task(rank(request("a", "b")))
            await until(lambda: judge.in_flight == 1)
            assert (shown(judge.url), shown(dead)) == ([1, 4, 0], [0, 4, 1])
            new = llm(judge.url, passes=1, model="n", concurrency=3)
            judges_file(tmp_path / "judges.yaml", main=new)
            assert shown(dead, "gone") == [0, 4, 0]
            judges.reload()
            assert shown(dead, "gone") == [0, 0, 0]
            assert (shown(judge.url), shown(dead)) == ([0, 3, 0], [0, 0, 0])
            second = asyncio.create_task(rank(request("a", "b")))
            await until(lambda: judge.calls == 2)
            first.cancel()
            await until(lambda: living.num_active == 0)
            assert (shown(judge.url), shown(dead)) == ([1, 3, 0], [0, 0, 0])
            judge.hold = 0
            assert (await second).model == "n"


def prefer_late_slots(asked: Asked) -> Answer:
    """Score each slot a tenth more than the one before, in addition to the text's length."""
    verdict = {
        shown_id: {"explanation": "-", "score": 0.1 + 0.1 * slot + by_length(text)}
        for slot, (shown_id, text) in enumerate(asked.shown.items())
    }
    return says(json.dumps(verdict))(asked)


async def test_a_judge_that_prefers_late_slots_is_shown(tmp_path: Path) -> None:
    judge = ScriptedJudge(always=prefer_late_slots)
    answers = (str(number) * 60 * number for number in range(1, 5))
    async with (
        judge.serving(),
        service(tmp_path, main=llm(judge.url)) as opened,
        client(opened) as http,
    ):
        await http.post("/rank", json=group(*answers))
        values = await read_series(http)
    assert values['podium_judge_slot_bias_recent{judge="main"}'] == pytest.approx(0.3, abs=0.01)


def test_noise_and_slot_bias_of_judge_and_juror_are_shown() -> None:
    noise = AssumedNoise(variance=0.04, df=10, groups=20, slots=[-0.1, 0, 0.15], ratios=[])
    juror = JurorResult(
        judge="juror", model="m", status="counted", weight=1, agreement=None, reliability=None,
        noise=noise,
    )  # fmt: skip
    metrics = Metrics()
    metrics.count_ranking(
        Ranking(
            id="rk", group_id=None, judge="main", model="m", method="listwise", passes=2,
            results=[], reliability=0.5, noise=noise, jurors=[juror], cached=False, usage=Usage(),
        )
    )  # fmt: skip
    for judge in ("main", "juror"):
        shown = {
            name: metrics.registry.get_sample_value(f"podium_judge_{name}", {"judge": judge})
            for name in ("noise_sd", "slot_bias")
        }
        assert shown == {"noise_sd": pytest.approx(0.2), "slot_bias": pytest.approx(0.25)}
