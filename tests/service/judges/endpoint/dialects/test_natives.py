"""Anthropic's and Gemini's own APIs rank groups, refuse, overflow and fail as any other does."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from podium_service.judges.endpoint.context_length import find_length
from podium_service.judges.endpoint.dialects.anthropic import read_message, to_messages_body
from podium_service.judges.endpoint.dialects.gemini import read_candidate, to_content_body
from podium_service.judges.endpoint.dialects.plain import data_of
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.reply import Tokens
from tests.fakes import Answer, Asked, ScriptedJudge, Step
from tests.service.helpers import client, group, llm, service
from tests.service.judges.builders import GOOD, dialect_at
from tests.service.judges.endpoint.dialects.natives import Server, anthropic, gemini

pytestmark = pytest.mark.anyio

NATIVES: dict[str, Server] = {"anthropic": anthropic, "gemini": gemini}
MODELS: dict[str, dict[str, Any]] = {
    "anthropic": {"data": [{"id": "m", "type": "model", "max_input_tokens": 200_000}]},
    "gemini": {"models": [{"name": "models/m", "inputTokenLimit": 200_000}]},
}
both = pytest.mark.parametrize("api", NATIVES)


async def rank(
    tmp_path: Path, api: str, step: Step, *texts: str, **settings: Any
) -> tuple[httpx.Response, ScriptedJudge]:
    """Rank a group by a judge that speaks an API of its own; it takes the same step each time."""
    judge = ScriptedJudge(always=step)
    judge.models = MODELS[api]
    async with judge.serving():
        url = judge.url.replace("/v1", "/v1beta") if api == "gemini" else judge.url
        own = {"api": api, "passes": 1, "context_tokens": None, "noise_sd": 0.05, **settings}
        async with (
            service(tmp_path, main=llm(url, **own)) as opened,
            client(opened) as http,
        ):
            trajectories = texts or ("short", "much longer")
            return await http.post("/rank", json=group(*trajectories)), judge


def answers(status: int, body: Any) -> Step:
    return lambda asked: Answer(json.dumps(body), status)


@both
async def test_a_group_is_ranked(api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATIVE_KEY", "a-key")
    answer, judge = await rank(tmp_path, api, NATIVES[api](GOOD), api_key_env="NATIVE_KEY")
    body = answer.json()
    rewards = [result["reward"] for result in body["results"]]
    assert rewards[0] < rewards[1]
    usage = {name: body["usage"][name] for name in ("prompt_tokens", "cached_tokens",
                                                    "completion_tokens")}  # fmt: skip
    assert usage == {"prompt_tokens": 100, "cached_tokens": 40, "completion_tokens": 10}
    [asked] = judge.asked
    assert "authorization" not in asked.headers
    if api == "anthropic":
        assert asked.path == "/v1/messages"
        assert asked.headers["x-api-key"] == judge.listed[0]["x-api-key"] == "a-key"
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert set(asked.body) == {"model", "max_tokens", "system", "messages"}
        assert asked.body["system"][0]["cache_control"] == {"type": "ephemeral"}
    else:
        assert asked.path == "/v1beta/models/m:generateContent"
        assert asked.headers["x-goog-api-key"] == "a-key"
        assert set(asked.body) == {"systemInstruction", "contents", "generationConfig"}
        config = asked.body["generationConfig"]
        assert config["responseMimeType"] == "application/json"
        assert list(config["responseJsonSchema"]["properties"]) == list(config["responseJsonSchema"]
                                                                        ["required"])  # fmt: skip


@both
async def test_a_faulty_reply_is_corrected(api: str, tmp_path: Path) -> None:
    def step(asked: Asked) -> Answer:
        is_first = len(asked.body["messages"]) == 2
        answer = GOOD(asked)
        if is_first:
            assert isinstance(answer.body, dict)
            answer.body["choices"][0]["message"]["content"] = "I like both."
        return answer

    answer, judge = await rank(tmp_path, api, NATIVES[api](step))
    assert answer.status_code == 200, answer.text
    turns = judge.asked[1].body["messages" if api == "anthropic" else "contents"]
    roles = [turn["role"] for turn in turns]
    assert roles == ["user", "assistant" if api == "anthropic" else "model", "user"]


OVERFLOWS = {
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message":
                  "prompt is too long: 14000 tokens > 8192 maximum"}},
    "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token "
               "count (14000) exceeds the maximum number of tokens allowed (8192)."}},
}  # fmt: skip


@both
async def test_an_overflow_is_trimmed(api: str, tmp_path: Path) -> None:
    long = "words that fill " * 1200

    def step(asked: Asked) -> Answer:
        too_long = len(json.dumps(asked.body)) > 25_000
        return (answers(400, OVERFLOWS[api]) if too_long else NATIVES[api](GOOD))(asked)

    answer, judge = await rank(tmp_path, api, step, f"short {long[:9000]}", f"long {long}")
    assert answer.status_code == 200, answer.text
    assert judge.calls == 2


CAPS = {
    "anthropic": {"type": "error", "error": {"type": "invalid_request_error", "message":
                  "max_tokens: 4480 > 4096, which is the maximum allowed number of output tokens"}},
    "gemini": {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Unable to submit "
               "request because it has a maxOutputTokens value of 4480 but the supported range is "
               "from 1 (inclusive) to 4097 (exclusive). Update the value and try again."}},
}  # fmt: skip


@both
async def test_a_cap_that_is_too_large_is_lowered(api: str, tmp_path: Path) -> None:
    def cap(asked: Asked) -> int:
        config = asked.body.get("generationConfig", {})
        return int(asked.body.get("max_tokens") or config["maxOutputTokens"])

    def step(asked: Asked) -> Answer:
        return (answers(400, CAPS[api]) if cap(asked) > 4096 else NATIVES[api](GOOD))(asked)

    answer, judge = await rank(tmp_path, api, step)
    assert answer.status_code == 200, answer.text
    assert [cap(asked) for asked in judge.asked] == [4480, 4096]


async def test_gemini_gives_up_a_schema_and_a_system_message(tmp_path: Path) -> None:
    def step(asked: Asked) -> Answer:
        config = asked.body["generationConfig"]
        if "responseJsonSchema" in config:
            message = "Unknown name \"responseJsonSchema\" at 'generation_config': Cannot find it."
        elif "systemInstruction" in asked.body:
            message = "Developer instruction is not enabled for models/m"
        else:
            with_system = {"systemInstruction": {"parts": []}, **asked.body}
            return gemini(GOOD)(Asked(with_system, asked.headers))
        return answers(400, {"error": {"code": 400, "message": message}})(asked)

    answer, judge = await rank(tmp_path, "gemini", step)
    assert answer.status_code == 200, answer.text
    assert judge.calls == 3


REFUSALS = [
    ("anthropic", {"content": [], "stop_reason": "refusal", "usage": {"input_tokens": 9}}),
    ("gemini", {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}}),
    ("gemini", {"candidates": [{"finishReason": "SAFETY", "index": 0}], "usageMetadata": {}}),
]


@pytest.mark.parametrize(("api", "body"), REFUSALS)
async def test_a_refusal_is_one(api: str, body: dict[str, Any], tmp_path: Path) -> None:
    answer, judge = await rank(tmp_path, api, answers(200, body))
    assert (answer.status_code, answer.json()["code"]) == (502, "judge_refused")
    assert judge.calls == 1


FAILURES = [
    ("anthropic", 401, {"type": "error", "error": {"type": "authentication_error", "message":
     "invalid x-api-key"}}, "judge_rejected"),
    ("anthropic", 529, {"type": "error", "error": {"type": "overloaded_error", "message":
     "Overloaded"}}, "judge_unavailable"),
    ("anthropic", 400, {"type": "error", "error": {"type": "invalid_request_error", "message":
     "Your credit balance is too low to access the Anthropic API."}}, "judge_quota_exhausted"),
    ("gemini", 400, {"error": {"code": 400, "message": "API key not valid.", "status":
     "INVALID_ARGUMENT"}}, "judge_rejected"),
    ("gemini", 503, {"error": {"code": 503, "message": "The model is overloaded.", "status":
     "UNAVAILABLE"}}, "judge_unavailable"),
    ("gemini", 200, {"candidates": []}, "judge_unavailable"),
    ("anthropic", 200, {"type": "message"}, "judge_unavailable"),
]  # fmt: skip


@pytest.mark.parametrize(("api", "status", "body", "code"), FAILURES)
async def test_failures_keep_their_words_and_their_kind(
    api: str, status: int, body: dict[str, Any], code: str, tmp_path: Path
) -> None:
    answer, _ = await rank(tmp_path, api, answers(status, body), attempts=1)
    assert answer.json()["code"] == code
    if "error" in body:
        assert body["error"]["message"] in answer.json()["detail"]


@both
async def test_the_models_and_their_context_are_listed(api: str) -> None:
    judge = ScriptedJudge()
    judge.models = MODELS[api]
    async with judge.serving():
        config = LLMJudge.model_validate(llm(judge.url, api=api))
        dialect = dialect_at(judge.url, api=api)
        entries = dialect.parse_models(await dialect.list_models())
        await dialect.aclose()
    assert [entry["id"] for entry in entries] == ["m"]
    assert find_length(config.model, entries) == 200_000


IMAGES = [
    {"role": "user", "content": [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
    ]},
]  # fmt: skip


def test_images_are_written_as_each_api_takes_them() -> None:
    call = {"model": "m", "max_completion_tokens": 9, "messages": IMAGES}
    assert to_messages_body(call)["messages"][0]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image",
         "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
    ]  # fmt: skip
    assert to_content_body(call)["contents"][0]["parts"] == [
        {"text": "Look:"},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"fileData": {"fileUri": "https://a.example/b.png"}},
    ]
    assert data_of("data:text/plain,hi") is None


def test_further_members_of_a_call_stay_as_they_are() -> None:
    call = {
        "model": "m", "max_completion_tokens": 9, "messages": [], "temperature": 0.5,
        "thinking": {"type": "enabled"}, "generationConfig": {"thinkingConfig": {"x": 1}},
        "safetySettings": [],
    }  # fmt: skip
    body = to_messages_body(call)
    assert (body["temperature"], body["thinking"]) == (0.5, {"type": "enabled"})
    body = to_content_body(call)
    assert body["safetySettings"] == []
    assert body["generationConfig"] == {
        "maxOutputTokens": 9, "temperature": 0.5, "thinkingConfig": {"x": 1},
    }  # fmt: skip


def test_geminis_probabilities_are_read_in_openais_form() -> None:
    token = {"token": "A", "logProbability": -0.1}
    candidate = {
        "content": {"parts": [{"text": "A"}]}, "finishReason": "STOP",
        "logprobsResult": {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]},
    }  # fmt: skip
    reply = read_candidate({"candidates": [candidate], "modelVersion": "v"})
    assert reply.logprobs == [
        {"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "A", "logprob": -0.1}]}
    ]
    for partial in ({}, {"chosenCandidates": [{"token": "A"}], "topCandidates": [{}, {}]}):
        reply = read_candidate({"candidates": [candidate | {"logprobsResult": partial}]})
        assert reply.text == "A"
    config = to_content_body({"messages": [], "max_tokens": 1, "logprobs": True, "top_logprobs": 5})
    assert config["generationConfig"]["logprobs"] == 5


def test_what_a_cache_holds_is_counted_as_read() -> None:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 70,
             "output_tokens": 3}  # fmt: skip
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]
    reply = read_message({"content": content, "stop_reason": "max_tokens", "usage": usage})
    assert (reply.text, reply.thoughts, reply.is_cut_off) == ("yes", "hm", True)
    assert reply.tokens == Tokens(prompt=95, cached=70, completion=3)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"api": "anthropic", "seed": 1}, "Anthropic's API has none"),
        ({"api": "anthropic", "reasoning_effort": "low"}, "thinking: {type: enabled"),
        ({"api": "gemini", "reasoning_effort": "low"}, "thinkingBudget"),
        ({"api": "gemini", "azure": "2024-10-21"}, "azure is OpenAI's API, and api is gemini"),
    ],
)
def test_settings_that_an_api_lacks_are_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LLMJudge.model_validate(llm("http://judge/v1", **settings))
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("api", "url"), [("anthropic", "http://judge/v1"), ("gemini", "http://judge/v1beta")]
)
def test_the_version_is_added_to_a_url_without_a_path(api: str, url: str) -> None:
    judge = LLMJudge.model_validate(llm("http://judge", api=api))
    assert list(map(str, judge.base_urls)) == [url]
