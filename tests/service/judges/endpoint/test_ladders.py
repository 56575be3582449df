"""Judges that accept less than others are asked for less, over TCP to POST /rank, and it is kept.

Each row is a kind of endpoint: what it refuses, in which form, and how often it may be asked.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from podium_service.errors import JudgeUnavailable
from podium_service.judges.endpoint.parameters import merge_system
from tests.fakes import Answer, Asked, ScriptedJudge, Step, fails, says
from tests.service.helpers import client, group, llm, service
from tests.service.judges.builders import GOOD, ask, open_judge

pytestmark = pytest.mark.anyio

Refuses = Callable[[Asked], bool]


def cap(asked: Asked) -> int:
    body = asked.body
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or 0)


def has(name: str) -> Refuses:
    return lambda asked: bool(name in asked.body)


def cap_over(tokens: int) -> Refuses:
    return lambda asked: cap(asked) > tokens


def system(asked: Asked) -> bool:
    return bool(asked.body["messages"][0]["role"] == "system")


def schema(asked: Asked) -> Any:
    return (asked.body.get("response_format") or {}).get("type") == "json_schema"


def any_format(asked: Asked) -> bool:
    return "response_format" in asked.body


def text_of(asked: Asked) -> int:
    return sum(len(message["content"]) for message in asked.body["messages"])


@dataclass(frozen=True)
class Endpoint:
    """Refusals of an endpoint, and how many of its answers are refusals until it ranks."""

    refuses: Refuses
    status: int
    body: Any
    num_refusals: int = 1
    settings: dict[str, Any] = field(default_factory=dict)


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


UNKNOWN = {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"],
                       "msg": "Extra inputs are not permitted", "input": 4}]}  # fmt: skip
ENDPOINTS = {
    "FastAPI: unknown cap": Endpoint(has("max_completion_tokens"), 422, UNKNOWN),
    "FastAPI: unknown input": Endpoint(
        has("max_completion_tokens"), 422, {"detail": "Extra inputs are not permitted"}
    ),
    "TGI: unknown cap": Endpoint(
        has("max_completion_tokens"), 422,
        {"error": "Input validation error: unknown field max_completion_tokens",
         "error_type": "validation"},
    ),
    "plain text: unknown cap": Endpoint(
        has("max_completion_tokens"), 400, "unrecognized field max_completion_tokens"
    ),
    "OpenAI: cap": Endpoint(
        cap_over(4096), 400,
        error("max_tokens is too large: 4640. This model supports at most 4096 completion tokens, "
              "whereas you provided 4640.", param="max_tokens"),
    ),
    "Anthropic: cap": Endpoint(
        cap_over(1000), 400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: 4640 "
         "> 1000, which is the maximum allowed number of output tokens for m-20240307"}},
    ),
    "RFC 9457: cap without a number": Endpoint(
        cap_over(1200), 400,
        {"type": "about:blank", "title": "Bad Request", "status": 400,
         "detail": "max_tokens is too high"}, num_refusals=2,
    ),
    "vLLM: no system": Endpoint(
        system, 400, {"object": "error", "message": "System role not supported", "code": 400}
    ),
    "llama.cpp: no system": Endpoint(
        system, 500,
        {"error": {"code": 500, "message": "Jinja Exception: Conversation roles must alternate "
                   "user/assistant/user/assistant/...", "type": "server_error"}},
    ),
    "Gemini: no system": Endpoint(
        system, 400,
        [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma",
                    "status": "INVALID_ARGUMENT"}}],
    ),
    "vLLM: schema": Endpoint(
        schema, 400,
        {"object": "error", "message": "The provided JSON schema contains features not supported "
         "by xgrammar.", "type": "BadRequestError", "code": 400},
    ),
    "llama.cpp: grammar as 500": Endpoint(
        schema, 500, {"error": {"code": 500, "message": "failed to parse grammar"}}
    ),
    "500 without a reason": Endpoint(schema, 500, "Internal Server Error"),
    "500 for any format": Endpoint(
        any_format, 500, "Internal Server Error", 2, settings={"attempts": 3}
    ),
    "400 without a reason": Endpoint(any_format, 400, error("Bad request"), 2),
    "vague: unknown cap": Endpoint(
        has("max_completion_tokens"), 400,
        error("Provider returned error", code=400, metadata={"raw": "ERROR"}), 3,
    ),
    "Bedrock: no cap": Endpoint(
        lambda asked: "max_tokens" not in asked.body, 400,
        {"message": "Malformed input request: #: required key [max_tokens] not found"},
    ),
    "only param": Endpoint(
        has("seed"), 400, error("Unsupported parameter", param="seed"), settings={"seed": 7}
    ),
    "OpenRouter: requested parameters": Endpoint(
        has("max_completion_tokens"), 404,
        error("No endpoints found that can handle the requested parameters.", code=404),
    ),
    "error in a 200": Endpoint(schema, 200, error("response_format is not supported", code=400)),
    "DashScope: thinking": Endpoint(
        lambda asked: asked.body.get("enable_thinking") is not False, 400,
        error("parameter.enable_thinking must be set to false for non-streaming calls"),
    ),
    "only streams": Endpoint(
        lambda asked: not asked.body.get("stream"), 400,
        error("This model only support stream mode, please enable the stream parameter."),
    ),
    "temperature": Endpoint(
        has("temperature"), 400, error("temperature is fixed at 1 for this model"),
        settings={"temperature": 0},
    ),
    "reasoning effort": Endpoint(
        has("reasoning_effort"), 400, error("This model has no reasoning effort"),
        settings={"reasoning_effort": "low"},
    ),
}  # fmt: skip


def answer_of(body: Any, status: int) -> Answer:
    content = body if isinstance(body, str) else json.dumps(body)
    return Answer(content, status)


async def rank(tmp_path: Path, step: Step, *texts: str, **settings: Any) -> tuple[
    list[httpx.Response], ScriptedJudge
]:  # fmt: skip
    """Rank two groups, one after the other, by a judge that always takes this step."""
    own = {"passes": 1, "context_tokens": None, **settings}
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, **own)) as opened,
        client(opened) as http,
    ):
        answers = [
            await http.post("/rank", json=group(*(f"{text} {number}" for text in texts)))
            for number in range(2)
        ]
    return answers, judge


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_what_an_endpoint_refuses_is_left_out(name: str, tmp_path: Path) -> None:
    row = ENDPOINTS[name]
    refusals = 0

    def step(asked: Asked) -> Answer:
        nonlocal refusals
        if row.refuses(asked):
            refusals += 1
            return answer_of(row.body, row.status)
        return GOOD(asked)

    answers, judge = await rank(tmp_path, step, "short", "much longer", **row.settings)
    for answer in answers:
        assert answer.status_code == 200, answer.text
        rewards = [result["reward"] for result in answer.json()["results"]]
        assert rewards[0] < rewards[1]
    is_understood = "without a reason" not in name and "any format" not in name
    assert refusals == row.num_refusals * (1 if is_understood else 2)
    assert judge.calls == 2 + refusals


async def test_a_cap_that_was_renamed_by_a_guess_is_named_back(tmp_path: Path) -> None:
    words = "Use 'max_completion_tokens' instead of 'max_tokens'"
    fine_later = [fails(400, "error")] * 3

    def step(asked: Asked) -> Answer:
        if fine_later:
            return fine_later.pop()(asked)
        return (fails(400, words) if "max_tokens" in asked.body else GOOD)(asked)

    answers, judge = await rank(tmp_path, step, "short", "much longer")
    assert [answer.status_code for answer in answers] == [200, 200]
    assert judge.calls == 3 + 1 + 2


LONG = "words that fill " * 1200  # 19,200 characters, of which two make a call of 13,000 tokens
OVERFLOWS = {
    "OpenAI": (400, error("This model's maximum context length is 8192 tokens. However, your "
               "messages resulted in 14000 tokens.", code="context_length_exceeded")),
    "llama.cpp": (400, {"error": {"code": 400, "message": "the request exceeds the available "
                  "context size", "type": "exceed_context_size_error", "n_prompt_tokens": 14429,
                  "n_ctx": 8192}}),
    "llama.cpp without numbers": (500, error("context size exceeded", code=500)),
    "Anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error",
                  "message": "prompt is too long: 208310 tokens > 200000 maximum"}}),
    "Gemini": (400, [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input "
               "token count (14248) exceeds the maximum number of tokens allowed (8192)."}}]),
    "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
            "8192. Given: 9000 `inputs` tokens and 2000 `max_new_tokens`"}),
    "Ollama": (500, {"error": "the input length exceeds the context length"}),
    "nginx": (413, "<html><h1>413 Request Entity Too Large</h1></html>"),
    "in a 200": (200, error("prompt is too long: 14000 tokens > 8192 maximum", code=400)),
}  # fmt: skip


@pytest.mark.parametrize("name", OVERFLOWS)
async def test_an_overflow_is_trimmed_by_what_was_sent(name: str, tmp_path: Path) -> None:
    """Nobody says that the endpoint takes no more than 20,000 characters."""
    status, body = OVERFLOWS[name]

    def step(asked: Asked) -> Answer:
        return answer_of(body, status) if text_of(asked) > 20_000 else GOOD(asked)

    answers, judge = await rank(tmp_path, step, f"short {LONG[:9000]}", f"long {LONG}")
    for answer in answers:
        assert answer.status_code == 200, answer.text
    sent = [text_of(asked) for asked in judge.asked]
    assert min(sent) > 5_000, "much more was cut than had to be"
    assert judge.calls <= 8


async def test_a_context_that_a_refusal_tells_is_learnt(tmp_path: Path) -> None:
    status, body = OVERFLOWS["OpenAI"]

    def step(asked: Asked) -> Answer:
        return answer_of(body, status) if text_of(asked) > 20_000 else GOOD(asked)

    _, judge = await rank(tmp_path, step, f"short {LONG}", f"long {LONG}{LONG}")
    assert judge.calls == 3  # only the first call of all is refused


async def test_a_learnt_cap_ends_the_doubling_of_cut_off_replies(tmp_path: Path) -> None:
    too_large = error("max_tokens is too large: it must be at most 300")

    def step(asked: Asked) -> Answer:
        if cap(asked) > 300:
            return answer_of(too_large, 400)
        return says('{"', "length", cap(asked))(asked)

    answers, judge = await rank(tmp_path, step, "short", "much longer")
    assert [answer.json()["code"] for answer in answers] == ["verdict_truncated"] * 2
    assert "the most that the endpoint allows" in answers[0].json()["detail"]
    assert [cap(asked) for asked in judge.asked] == [4480, 300, 300]


async def test_a_500_after_a_format_has_worked_costs_no_format() -> None:
    async with open_judge(GOOD, fails(500), GOOD, GOOD) as (judge, scripted):
        for _ in range(3):
            await ask(judge)
    assert all(schema(asked) for asked in scripted.asked)


async def test_a_500_with_words_about_formats_is_a_500_too() -> None:
    """A format that has worked is not given up for it, and the call is made again."""
    fault = fails(500, "database schema is out of date")
    async with open_judge(GOOD, fault, GOOD, GOOD) as (judge, scripted):
        for _ in range(3):
            await ask(judge)
    assert all(schema(asked) for asked in scripted.asked)
    async with open_judge(always=fault) as (judge, scripted):
        with pytest.raises(JudgeUnavailable, match="database schema"):
            await ask(judge)


async def test_a_reply_that_no_endpoint_can_read_is_asked_for_again() -> None:
    unreadable = fails(400, "Failed to generate JSON.", code="json_validate_failed")
    async with open_judge(unreadable, GOOD, GOOD) as (judge, scripted):
        await ask(judge)
        await ask(judge)
    formats = [any_format(asked) for asked in scripted.asked]
    assert formats == [True, True, True]


async def test_replies_that_stay_unreadable_are_asked_for_in_prose() -> None:
    unreadable = fails(400, "Failed to generate JSON.", code="json_validate_failed")
    async with open_judge(unreadable, unreadable, GOOD, attempts=3) as (judge, scripted):
        await ask(judge)
    assert [any_format(asked) for asked in scripted.asked] == [True, True, False]


async def test_a_merged_system_message_comes_first_in_the_users() -> None:
    messages = [
        {"role": "system", "content": "Be fair."},
        {"role": "user", "content": "Which?"},
        {"role": "assistant", "content": "?"},
    ]
    assert merge_system(messages) == [
        {"role": "user", "content": "Be fair.\n\nWhich?"},
        {"role": "assistant", "content": "?"},
    ]
    assert messages[1]["content"] == "Which?"
    assert merge_system(messages[1:]) == messages[1:]
    image = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
    assert merge_system([messages[0], {"role": "user", "content": [image]}]) == [
        {"role": "user", "content": [{"type": "text", "text": "Be fair.\n\n"}, image]}
    ]


@pytest.mark.parametrize(
    "body",
    [
        error("the moon is wrong"),
        {"error": "the moon is wrong"},
        [{"error": {"message": "the moon is wrong"}}],
        {"detail": "the moon is wrong"},
        {"title": "Bad", "detail": "the moon is wrong"},
        "<html><body>the moon is <b>wrong</b></body></html>",
        "the moon\nis wrong",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 404, 503])
async def test_the_servers_words_reach_the_caller(body: Any, status: int, tmp_path: Path) -> None:
    step: Step = lambda asked: answer_of(body, status)  # noqa: E731
    answers, _ = await rank(tmp_path, step, "short", "much longer", attempts=1)
    detail = answers[0].json()["detail"]
    assert f"answered {status}: " in detail
    assert "the moon is wrong" in detail
