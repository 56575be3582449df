"""`POST /rank`: the response, and what each failure becomes."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import (
    Answer,
    Asked,
    Step,
    by_length,
    fails,
    hangs,
    says,
    scores,
)
from tests.service.helpers import client, client_of_judge, group, service

pytestmark = pytest.mark.anyio
GOOD = scores(by_length)
REFERENCE = {"reference": "5"}
PRICE = {"prompt": 1.0, "cached": 0.5, "completion": 10.0}


async def test_the_response_has_every_field_of_the_wire(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD, price=PRICE) as (http, _):
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
        "basis": "judged",
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


async def test_unknown_values_are_null_and_not_left_out(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD, passes=1) as (http, _):
        ranking = (await http.post("/rank", json=group("5", "five"))).json()
    assert ranking["reliability"] is None
    assert ranking["group_id"] is None
    assert ranking["usage"]["cost_usd"] is None
    assert [result["stderr"] for result in ranking["results"]] == [None, None]


async def test_a_repeated_group_comes_from_the_store_at_no_cost(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, GOOD, price=PRICE) as (http, judge):
        first = (await http.post("/rank", json=group("5", "five", group_id="a"))).json()
        again = (await http.post("/rank", json=group("5", "five", group_id="b"))).json()
    assert judge.calls == 4
    assert again["usage"] == {
        "calls": 0, "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0,
        "cost_usd": again["usage"]["cost_usd"],
    }  # fmt: skip
    assert not again["usage"]["cost_usd"]
    assert again == first | {"group_id": "b", "cached": True, "usage": again["usage"]}


async def test_a_passed_deadline_is_a_retryable_504(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, hangs) as (http, _):
        answer = await http.post("/rank", json=group("5", "five", deadline_s=0.1))
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.json()["retryable"] is True


async def test_a_rate_limited_judge_is_a_503_with_retry_after(tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, fails(429, retry_after="7"), attempts=1) as (http, _):
        answer = await http.post("/rank", json=group("5", "five"))
    assert (answer.status_code, answer.json()["code"]) == (503, "judge_rate_limited")
    assert answer.headers["retry-after"] in ("6", "7")
    assert answer.json()["retryable"] is True


async def test_a_judge_without_quota_is_a_502_that_is_not_retryable(
    tmp_path: Path,
) -> None:
    async with client_of_judge(tmp_path, fails(429, "insufficient_quota: no credit is left")) as (
        http,
        _,
    ):
        answer = await http.post("/rank", json=group("5", "five"))
    assert (answer.status_code, answer.json()["code"]) == (502, "judge_quota_exhausted")
    assert answer.json()["retryable"] is False
    assert "retry-after" not in answer.headers


async def test_a_broken_store_is_a_retryable_503(
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
    """Return a step with a valid verdict and this `usage`."""

    def step(asked: Asked) -> Answer:
        body = GOOD(asked).body
        assert isinstance(body, dict)
        return Answer({**body, "usage": usage})

    return step


def explains(explanation: str) -> Step:
    """Return a step with a valid verdict and this explanation."""

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
async def test_any_judge_reply_is_a_ranking_or_a_typed_failure(step: Step, tmp_path: Path) -> None:
    async with client_of_judge(tmp_path, step, attempts=1, price=PRICE) as (http, _):
        answer = await http.post("/rank", json=group("5", "five"))
    assert answer.is_success or answer.json()["code"] != "internal"
