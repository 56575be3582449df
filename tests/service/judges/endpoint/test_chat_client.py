"""The short way through the openai client: what the endpoint sees and says is as with `post`."""

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


async def outcomes(step: Step) -> tuple[list[Any], ScriptedJudge]:
    """What the short way and `post` make of the same answer."""
    async with ScriptedJudge(always=step).serving() as judge:
        client = ChatClient(judge.url, "a-key", max_connections=4)

        async def usual() -> bytes:
            path = "/chat/completions"
            return (await client.post(path, content=BODY, cast_to=httpx2.Response)).content

        ways: list[Callable[[], Awaitable[bytes]]] = [lambda: client.complete(BODY), usual]
        found: list[Any] = []
        for way in ways:
            try:
                found.append(await way())
            except openai.APIError as error:
                found.append(error)
        await client.close()
    return found, judge


async def test_the_endpoint_sees_the_same_request() -> None:
    (short, usual), judge = await outcomes(says("hello"))
    assert short == usual
    headers = [dict(asked.headers) for asked in judge.asked]
    assert headers[1].pop("x-stainless-retry-count") == "0"
    assert headers[0] == headers[1]
    assert headers[0]["authorization"] == "Bearer a-key"
    assert judge.asked[0].body == judge.asked[1].body


async def test_a_compressed_answer_is_read_as_the_client_reads_it() -> None:
    content = gzip.compress(b'{"choices": []}')
    (short, usual), _ = await outcomes(
        lambda asked: Answer(content, headers={"content-encoding": "gzip"})
    )
    assert short == usual == b'{"choices": []}'


async def headers_of_both(scripted: ScriptedJudge) -> list[dict[str, str]]:
    """What a chat completion and `/models` were sent with."""
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
async def test_any_status_but_success_is_the_clients_error(step: Step) -> None:
    (short, usual), _ = await outcomes(step)
    assert isinstance(short, openai.APIStatusError)
    told = [(each.status_code, each.body, each.code, dict(each.response.headers)) for each in
            (short, usual)]  # fmt: skip
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "step", [drops, lambda asked: Answer("no gzip", headers={"content-encoding": "gzip"})]
)
async def test_what_is_no_answer_is_the_clients_error_with_its_cause(step: Step) -> None:
    (short, usual), _ = await outcomes(step)
    assert isinstance(short, openai.APIConnectionError)
    assert isinstance(usual, openai.APIConnectionError | httpx2.DecodingError)
    assert short.__cause__ is not None


async def test_a_prompt_of_megabytes_is_sent_whole_and_no_cookie_with_it() -> None:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 3_000_000}]})
    async with ScriptedJudge(always=gives_a_cookie).serving() as judge:
        by_name = judge.url.replace("127.0.0.1", "localhost")  # numbers get no cookies anyway
        client = ChatClient(by_name, None, max_connections=1)
        for _ in range(2):
            await client.complete(body)
        await client.close()
    assert [asked.body for asked in judge.asked] == [orjson.loads(body)] * 2
    assert not any("cookie" in asked.headers for asked in judge.asked)


def gives_a_cookie(asked: Asked) -> Answer:
    return Answer({"choices": []}, headers={"set-cookie": "who=you; Path=/"})
