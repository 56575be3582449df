"""A completion of the chat client is as with `post`: the same request, result and errors."""

import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import openai
import orjson
import pytest

from podium_service.judges.endpoint.chat_client import ChatClient
from tests.fakes import Answer, Asked, ScriptedJudge, Step, drops, fails, says

pytestmark = pytest.mark.anyio

BODY = b'{"model": "m", "messages": []}'


async def complete_both_ways(step: Step) -> tuple[list[Any], ScriptedJudge]:
    """Return the results or errors of `complete` and of `post` for one answer, and the server."""
    async with ScriptedJudge(always=step).serving() as judge:
        client = ChatClient(judge.url, "a-key", max_connections=4)

        async def post() -> bytes:
            path = "/chat/completions"
            return (await client.post(path, content=BODY, cast_to=httpx2.Response)).content

        ways: list[Callable[[], Awaitable[bytes]]] = [lambda: client.complete(BODY), post]
        results: list[Any] = []
        for way in ways:
            try:
                results.append(await way())
            except openai.APIError as error:
                results.append(error)
        await client.close()
    return results, judge


async def test_the_endpoint_gets_the_same_request() -> None:
    (direct, usual), judge = await complete_both_ways(says("hello"))
    assert direct == usual
    headers = [dict(asked.headers) for asked in judge.asked]
    assert headers[1].pop("x-stainless-retry-count") == "0"
    assert headers[0] == headers[1]
    assert headers[0]["authorization"] == "Bearer a-key"
    assert judge.asked[0].body == judge.asked[1].body


async def test_a_compressed_answer_is_read_as_the_client_reads_it() -> None:
    content = gzip.compress(b'{"choices": []}')
    (direct, usual), _ = await complete_both_ways(
        lambda asked: Answer(content, headers={"content-encoding": "gzip"})
    )
    assert direct == usual == b'{"choices": []}'


async def headers_of_both(scripted: ScriptedJudge) -> list[dict[str, str]]:
    """Return the headers of a chat completion and of a request for `/models`."""
    async with scripted.serving() as judge:
        client = ChatClient(judge.url, None, max_connections=1)
        await client.complete(BODY)
        await client.get("/models", cast_to=httpx2.Response)
        await client.close()
    both = [judge.asked[0].headers, judge.listed[0]]
    for headers in both:
        del headers["host"]
    return both


async def test_nothing_from_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = await headers_of_both(ScriptedJudge(always=says("hello")))
    secret = "X-Gateway: sekret\nAuthorization: Bearer sekret"
    names = ["API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET", "BASE_URL"]
    for name in names:
        monkeypatch.setenv(f"OPENAI_{name}", "sekret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", secret)
    assert await headers_of_both(ScriptedJudge(always=says("hello"))) == usual
    assert [headers["authorization"] for headers in usual] == ["Bearer none"] * 2


@pytest.mark.parametrize(
    "step",
    [
        fails(400, "bad seed", code="bad"),
        fails(429, "slow down", retry_after="3"),
        lambda asked: Answer("<html>no</html>", status=502),
        lambda asked: Answer({"message": "moved"}, status=307, headers={"location": "/v2"}),
        lambda asked: Answer("[1]", status=500),
    ],
)
async def test_any_status_but_success_is_an_error_of_the_client(step: Step) -> None:
    (direct, usual), _ = await complete_both_ways(step)
    assert isinstance(direct, openai.APIStatusError)
    details = [(each.status_code, each.body, each.code, dict(each.response.headers)) for each in
            (direct, usual)]  # fmt: skip
    assert details[0] == details[1]


@pytest.mark.parametrize(
    "step", [drops, lambda asked: Answer("no gzip", headers={"content-encoding": "gzip"})]
)
async def test_a_lost_answer_is_an_error_of_the_client_with_its_cause(step: Step) -> None:
    (direct, usual), _ = await complete_both_ways(step)
    assert isinstance(direct, openai.APIConnectionError)
    assert isinstance(usual, openai.APIConnectionError | httpx2.DecodingError)
    assert direct.__cause__ is not None


async def test_a_prompt_of_megabytes_is_sent_whole_and_without_cookies() -> None:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 3_000_000}]})
    async with ScriptedJudge(always=set_cookie).serving() as judge:
        url = judge.url.replace("127.0.0.1", "localhost")  # because IP addresses get no cookies
        client = ChatClient(url, None, max_connections=1)
        for _ in range(2):
            await client.complete(body)
        await client.close()
    assert [asked.body for asked in judge.asked] == [orjson.loads(body)] * 2
    assert not any("cookie" in asked.headers for asked in judge.asked)


def set_cookie(asked: Asked) -> Answer:
    return Answer({"choices": []}, headers={"set-cookie": "who=you; Path=/"})
