"""OpenAI's API is spoken with the headers of the judges file, and none of the environment's."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from podium_service.judges.endpoint.dialects.base import Dialect, FailedAnswer, NoAnswer
from tests.fakes import Answer, Asked, ScriptedJudge, Step, drops, fails, says
from tests.service.judges.builders import dialect_at

pytestmark = pytest.mark.anyio

CALL: dict[str, Any] = {"model": "m", "messages": []}


@asynccontextmanager
async def open_chat(url: str, **settings: Any) -> AsyncIterator[Dialect]:
    dialect = dialect_at(url, **settings)
    try:
        yield dialect
    finally:
        await dialect.aclose()


async def ask(step: Step, **settings: Any) -> tuple[bytes | Exception, Asked]:
    """Return the answer or the failure of one call, and what the server saw."""
    async with (
        ScriptedJudge(always=step).serving() as judge,
        open_chat(judge.url, **settings) as chat,
    ):
        answer: bytes | Exception
        try:
            answer = await chat.complete(CALL)
        except (FailedAnswer, NoAnswer) as failure:
            answer = failure
        return answer, judge.asked[0]


async def test_a_call_carries_its_body_the_key_and_own_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "a-key")
    monkeypatch.setenv("GATEWAY_KEY", "secret")
    answer, asked = await ask(
        says("hello"),
        api_key_env="JUDGE_KEY",
        headers={"X-Team": "rl", "X-Gateway": "Key ${GATEWAY_KEY}"},
        query={"api-version": "2024-10-21", "tier": 2},
    )
    assert isinstance(answer, bytes)
    assert asked.body == CALL
    assert asked.path == "/v1/chat/completions?api-version=2024-10-21&tier=2"
    assert asked.headers["authorization"] == "Bearer a-key"
    assert asked.headers["content-type"] == "application/json"
    assert (asked.headers["x-team"], asked.headers["x-gateway"]) == ("rl", "Key secret")


async def test_a_header_of_the_judges_file_replaces_the_apis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BASIC", "abc")
    _, asked = await ask(says("hello"), headers={"Authorization": "Basic ${BASIC}"})
    assert asked.headers["authorization"] == "Basic abc"


async def test_a_compressed_answer_is_read() -> None:
    content = gzip.compress(b'{"choices": []}')
    step: Step = lambda asked: Answer(content, headers={"content-encoding": "gzip"})  # noqa: E731
    assert (await ask(step))[0] == b'{"choices": []}'


async def headers_of_both() -> list[dict[str, str]]:
    """Return the headers of a chat completion and of a request for `/models`."""
    async with (
        ScriptedJudge(always=says("hello")).serving() as judge,
        open_chat(judge.url) as chat,
    ):
        await chat.complete(CALL)
        await chat.list_models()
    both = [judge.asked[0].headers, judge.listed[0]]
    for headers in both:
        del headers["host"]
    return both


async def test_nothing_from_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = await headers_of_both()
    names = ["API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET", "BASE_URL"]
    for name in names:
        monkeypatch.setenv(f"OPENAI_{name}", "sekret")
    custom = "X-Gateway: sekret\nAuthorization: Bearer sekret"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", custom)
    assert await headers_of_both() == usual
    assert [headers["authorization"] for headers in usual] == ["Bearer none"] * 2


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (fails(400, "bad seed", code="bad"), 400),
        (fails(429, "slow down", retry_after="3"), 429),
        (lambda asked: Answer("<html>no</html>", status=502), 502),
        (lambda asked: Answer("", status=307, headers={"location": "/v2"}), 307),
        (lambda asked: Answer("[1]", status=500), 500),
    ],
)
async def test_any_status_but_success_is_a_failed_answer(step: Step, status: int) -> None:
    failure, asked = await ask(step)
    assert isinstance(failure, FailedAnswer)
    expected = step(asked)
    body = expected.body if isinstance(expected.body, str) else orjson.dumps(expected.body).decode()
    assert failure.status == status
    assert failure.content.decode().replace(" ", "") == body.replace(" ", "")
    for name, value in expected.headers.items():
        assert failure.headers[name] == value


@pytest.mark.parametrize(
    "step", [drops, lambda asked: Answer("no gzip", headers={"content-encoding": "gzip"})]
)
async def test_a_lost_answer_may_have_been_paid(step: Step) -> None:
    failure, _ = await ask(step)
    assert isinstance(failure, NoAnswer)
    assert failure.was_sent


async def test_what_was_not_sent_was_not_paid() -> None:
    async with open_chat("http://127.0.0.1:9/v1") as chat:
        with pytest.raises(NoAnswer, match="ConnectionRefusedError") as caught:
            await chat.complete(CALL)
    assert not caught.value.was_sent


async def test_a_prompt_of_megabytes_is_sent_whole_and_without_cookies() -> None:
    call = {"model": "m", "messages": [{"role": "user", "content": "x" * 3_000_000}]}
    async with ScriptedJudge(always=set_cookie).serving() as judge:
        url = judge.url.replace("127.0.0.1", "localhost")  # because IP addresses get no cookies
        async with open_chat(url) as chat:
            for _ in range(2):
                await chat.complete(call)
    assert [asked.body for asked in judge.asked] == [call] * 2
    assert not any("cookie" in asked.headers for asked in judge.asked)


def set_cookie(asked: Asked) -> Answer:
    return Answer({"choices": []}, headers={"set-cookie": "who=you; Path=/"})


@pytest.mark.parametrize("version", ["2024-10-21", "2025-01-01-preview"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/openai/deployments/m/chat/completions"),
        ("/openai/deployments/other", "/openai/deployments/other/chat/completions"),
    ],
)
async def test_azures_deployments_are_asked_in_azures_way(
    path: str, expected: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_KEY", "a-key")
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "sekret")
    monkeypatch.setenv("OPENAI_API_VERSION", "2000-01-01")
    async with ScriptedJudge(always=says("hello")).serving() as judge:
        resource = judge.url.removesuffix("/v1") + path
        settings = {"azure": version, "api_key_env": "AZURE_KEY", "headers": {"X-Team": "rl"}}
        async with open_chat(resource, **settings) as chat:
            await chat.complete(CALL)
            await chat.list_models()
    [asked] = judge.asked
    assert asked.path == f"{expected}?api-version={version}"
    assert asked.headers["api-key"] == "a-key"
    assert asked.headers["x-team"] == "rl"
    assert "sekret" not in str(asked.headers)
    assert judge.listed[0]["api-key"] == "a-key"
