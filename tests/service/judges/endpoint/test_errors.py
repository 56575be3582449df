"""Statuses and words of servers are mapped to errors that say what to do, without secrets."""

from urllib.parse import quote

import httpx2
import pytest

from podium_service.errors import (
    JudgeError,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.endpoint.dialects.base import no_answer
from podium_service.judges.endpoint.errors import (
    ContextOverflow,
    find_failed_status,
    map_failure,
    read_retry_after,
)
from tests.fakes import (
    Answer,
    Step,
    fails,
)
from tests.service.judges.builders import (
    GOOD,
    ask,
    open_judge,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("cause", "words", "unanswered"),
    [
        (httpx2.ConnectTimeout("no connection in 10 s"), "cannot be reached", False),
        (httpx2.ConnectError("refused"), "cannot be reached", False),
        (httpx2.ReadError("the server left"), "gave no answer", True),
    ],
)
def test_only_what_was_sent_may_have_been_paid(
    cause: Exception, words: str, unanswered: bool
) -> None:
    error = RuntimeError("of a client")
    error.__cause__ = cause
    mapped = map_failure(no_answer(error), "http://judge/v1", str)
    assert isinstance(mapped, JudgeUnavailable)
    assert str(mapped).startswith(f"http://judge/v1 {words} ({type(cause).__name__}: {cause})")
    assert mapped.unanswered is unanswered


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"error": {"message": "x", "code": 429}}', 429),
        (b'{"error": "x", "choices": null}', 502),
        (b'{"choices": [{"error": {"code": "503"}}]}', 503),
        (b'{"object": "error", "message": "x", "code": 400}', 400),
        (b'{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}', 502),
        (b'{"choices": [], "object": "chat.completion"}', None),
        (b"[]", None),
    ],
)
def test_an_error_in_a_success_has_its_status(body: bytes, status: int | None) -> None:
    assert find_failed_status(body) == status


async def test_a_redirect_is_not_followed() -> None:
    async with open_judge(fails(307, location="http://127.0.0.1:9/v1")) as (judge, _):
        with pytest.raises(JudgeRejected, match=r"307: it sends on to http://127\.0\.0\.1:9/v1:"):
            await ask(judge)


def test_the_words_of_a_connection_are_one_line() -> None:
    error = no_answer(httpx2.RemoteProtocolError("400, message:\n  Got more than 8190 bytes"))
    assert str(error) == "RemoteProtocolError: 400, message: Got more than 8190 bytes"


async def test_a_400_that_names_no_parameter_is_a_typed_failure() -> None:
    """Its words are not understood, so that each response format is tried before it stands."""
    async with open_judge(always=fails(400, "the moon is wrong")) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected, match="400: the moon is wrong"):
                await ask(judge)
    assert scripted.calls == 2 * 3


async def test_a_400_about_the_context_is_a_context_overflow() -> None:
    message = "This model's maximum context length is 2048 tokens, max_completion_tokens is 500"
    async with open_judge(fails(400, message)) as (judge, _):
        with pytest.raises(ContextOverflow):
            await ask(judge)


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert read_retry_after({"retry-after": "2.5"}) == 2.5
    assert read_retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for unreadable in ("soon", "inf", "nan", "-1", ""):
        assert read_retry_after({"retry-after": unreadable}) is None
    assert read_retry_after({"retry-after": "999999999"}) == 3600
    assert read_retry_after({}) is None


async def test_the_api_key_goes_to_the_endpoint_and_into_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    step = fails(401, "Incorrect API key provided: sk-very-secret")
    async with open_judge(step, api_key_env="JUDGE_KEY") as (judge, scripted):
        with pytest.raises(JudgeRejected) as caught:
            await ask(judge)
    assert scripted.asked[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in str(caught.value)


async def test_a_secret_in_a_header_goes_into_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY", "gw-very-secret")
    step = fails(403, "gw-very-secret is no key of ours")
    headers = {"X-Gateway-Key": "Key ${GATEWAY_KEY}"}
    async with open_judge(step, headers=headers) as (judge, scripted):
        with pytest.raises(JudgeRejected, match=r"\*\*\* is no key of ours"):
            await ask(judge)
    assert scripted.asked[0].headers["x-gateway-key"] == "Key gw-very-secret"


async def test_a_secret_in_an_address_goes_into_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUERY_KEY", "very/secret+key==")
    words = f"Cannot POST /v1?key={quote('very/secret+key==', '')}"
    async with open_judge(fails(404, words), query={"key": "${QUERY_KEY}"}) as (judge, _):
        with pytest.raises(JudgeRejected, match=r"key=\*\*\*$"):
            await ask(judge)


KEY = "sk-0123456789-abcdefghijklmnopqrstuvwxyz"  # 40 characters


@pytest.mark.parametrize(
    "step",
    [
        fails(401, "x" * 480 + KEY),  # an error quotes 500 characters
        lambda asked: Answer("x" + 30 * KEY),  # and 100 of a body that is no JSON
    ],
)
async def test_no_part_of_the_api_key_is_left_where_words_are_cut(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    async with open_judge(step, api_key_env="JUDGE_KEY", attempts=1) as (judge, _):
        with pytest.raises(JudgeError, match=r"x\*\*\*") as caught:
            await ask(judge)
    assert "sk-" not in str(caught.value)
    assert "012345" not in str(caught.value)


@pytest.mark.parametrize(
    "step",
    [
        fails(429, "quota exceeded for requests", Retry_After="0"),
        fails(429, "quota of requests per minute"),
    ],
)
async def test_a_quota_per_minute_is_a_rate_limit(step: Step) -> None:
    async with open_judge(step, GOOD) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2
