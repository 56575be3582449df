"""Chat completions over TCP, as OpenAI's own client sees them."""

import asyncio
from math import exp
from typing import Any

import openai
import pytest

from tests.fakes import until
from tests.service.judges.local.fake_model import FakeModel
from tests.service.judges.local.serving import MODEL_ID, Client, serving

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]
LONG: list[Any] = [{"role": "user", "content": "Hello? " * 40}]


def echo(prompt: str) -> bytes:
    """Reply with the user's text."""
    return prompt.split("user\n")[1].split("<|im_end|>")[0].encode()


async def ask(client: Client, messages: list[Any] = HELLO, **parameters: Any) -> Any:
    return await client.openai.chat.completions.create(
        model=MODEL_ID, messages=messages, **parameters
    )


async def test_a_reply_has_its_text_its_reason_and_its_tokens() -> None:
    async with serving(FakeModel(echo)) as client:
        whole, cut = await ask(client), await ask(client, max_completion_tokens=2)
    assert whole.choices[0].message.content == "Hello?"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.choices[0].logprobs is None
    assert (whole.model, whole.usage.completion_tokens) == (MODEL_ID, 7)
    assert whole.usage.prompt_tokens == len("user\nHello?\nassistant\n") + 3
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("He", "length")


async def test_log_probabilities_are_given_if_asked_for() -> None:
    async with serving(FakeModel()) as client:
        top = await ask(client, logprobs=True, top_logprobs=20)
        bare = await ask(client, logprobs=True)
    first, *_ = tokens = top.choices[0].logprobs.content
    assert [token.token for token in tokens] == ["y", "e", "s"]
    assert first.bytes == [ord("y")]
    assert first.top_logprobs[0].token == "y"
    assert first.top_logprobs[0].logprob == first.logprob
    assert len(first.top_logprobs) == 20
    assert sum(exp(each.logprob) for each in first.top_logprobs) < 1
    assert [token.top_logprobs for token in bare.choices[0].logprobs.content] == [[], [], []]


async def test_reused_tokens_of_the_prompt_are_reported() -> None:
    async with serving(FakeModel(context_tokens=4096)) as client:
        replies = [await ask(client, LONG) for _ in range(2)]
    cached = [reply.usage.prompt_tokens_details.cached_tokens for reply in replies]
    assert cached == [0, 256]
    assert replies[0].choices[0].message == replies[1].choices[0].message


async def test_text_parts_and_the_role_developer_are_understood() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    model = FakeModel()
    async with serving(model) as client:
        await ask(client, messages)
    assert (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nab<|im_end|>"
        in model.prompts[0]
    )


async def test_a_stop_text_ends_the_reply() -> None:
    async with serving(FakeModel(echo)) as client:
        reply = await ask(client, stop="o?")
    assert reply.choices[0].message.content == "Hell"
    assert reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("parameters", "param", "words"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format", "json_object"),
        ({"stream": True}, "stream", "not supported"),
        ({"n": 2}, "n", "ask 2 times"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "leave it out"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "leave it out"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "Input should be"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
            "text parts",
        ),
    ],
)
async def test_what_is_not_supported_is_named(
    parameters: dict[str, Any], param: str, words: str
) -> None:
    async with serving(FakeModel()) as client:
        with pytest.raises(openai.BadRequestError, match=words) as refused:
            await ask(client, **parameters)
    assert refused.value.param == param
    assert param in refused.value.message


async def test_parameters_that_nobody_knows_are_ignored() -> None:
    async with serving(FakeModel()) as client:
        reply = await ask(client, extra_body={"cache_prompt": True}, user="me", tools=[], n=1)
    assert reply.choices[0].message.content == "yes"


@pytest.mark.parametrize("size", [{"messages": LONG}, {"max_tokens": 200}])
async def test_what_does_not_fit_the_context_is_refused(size: dict[str, Any]) -> None:
    async with serving(FakeModel(context_tokens=200)) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(client, **size)
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length is 200 tokens" in refused.value.message


async def test_a_reply_without_a_cap_ends_with_the_context() -> None:
    async with serving(FakeModel(lambda prompt: b"a" * 500, context_tokens=100)) as client:
        reply = await ask(client)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.total_tokens == 100


async def test_another_model_is_not_found() -> None:
    async with serving(FakeModel()) as client:
        with pytest.raises(openai.NotFoundError, match=r"'gpt' is not served here, only 'fake'"):
            await client.openai.chat.completions.create(model="gpt", messages=HELLO)


@pytest.mark.parametrize("body", ["{", "[]", '{"model": "fake"}', "\xff"])
async def test_a_body_that_is_no_request_is_refused(body: str) -> None:
    async with serving(FakeModel()) as client:
        answer = await client.http.post("/v1/chat/completions", content=body.encode("latin-1"))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_the_model_is_listed_with_its_context() -> None:
    async with serving(FakeModel(context_tokens=512)) as client:
        [entry] = (await client.http.get("/v1/models")).json()["data"]
        health = (await client.http.get("/health")).json()
        missing = await client.http.get("/v2")
    assert (entry["id"], entry["max_model_len"], entry["meta"]) == (MODEL_ID, 512, {"n_ctx": 512})
    assert health == {"status": "ok", "open_requests": 0}
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "Not Found")


async def test_a_key_is_asked_for_where_there_is_one() -> None:
    async with serving(FakeModel(), api_key="secret") as client:
        with pytest.raises(openai.AuthenticationError):
            await ask(client)
        knowing = client.openai.with_options(api_key="secret")
        reply = await knowing.chat.completions.create(model=MODEL_ID, messages=HELLO)
        assert (await client.http.get("/health")).status_code == 200
    assert reply.choices[0].message.content == "yes"


async def test_requests_are_answered_in_the_order_they_came() -> None:
    model = FakeModel()
    model.gate.clear()
    async with serving(model) as client:
        waiting = []
        for number in range(4):
            messages = [{"role": "user", "content": f"#{number}"}]
            waiting.append(asyncio.create_task(ask(client, messages)))
            await until(lambda count=number + 1: _has_open(client, count))
        model.gate.set()
        await asyncio.gather(*waiting)
    assert [prompt[prompt.index("#") + 1] for prompt in model.prompts] == ["0", "1", "2", "3"]


async def test_a_waiting_request_is_dropped_when_its_client_goes() -> None:
    model = FakeModel()
    model.gate.clear()
    async with serving(model) as client:
        first = asyncio.create_task(ask(client))
        await until(lambda: _has_open(client, 1))
        second = asyncio.create_task(ask(client, LONG))
        await until(lambda: _has_open(client, 2))
        second.cancel()
        await until(lambda: _has_open(client, 1))
        model.gate.set()
        await first
        await until(lambda: _has_open(client, 0))
    assert all(size < 64 for size, _ in model.batches), "the dropped prompt was evaluated"


async def test_a_running_request_stops_when_its_client_goes() -> None:
    model = FakeModel(lambda prompt: b"a" * 3000, context_tokens=4096)
    model.gate.clear()
    async with serving(model) as client:
        asking = asyncio.create_task(ask(client))
        await until(lambda: _has_open(client, 1))
        asking.cancel()
        await until(lambda: _has_open(client, 0))
        model.gate.set()
        reply = await ask(client, max_tokens=1)
    assert reply.choices[0].message.content == "a"
    assert len(model.batches) <= 3


async def test_a_model_that_breaks_is_an_error_of_the_server() -> None:
    def broken(prompt: str) -> bytes:
        raise RuntimeError("llama_decode returned 1")

    async with serving(FakeModel(broken)) as client:
        with pytest.raises(openai.InternalServerError, match="could not be evaluated"):
            await ask(client)


async def _has_open(client: Client, count: int) -> bool:
    health = (await client.http.get("/health")).json()
    return bool(health["open_requests"] == count)
