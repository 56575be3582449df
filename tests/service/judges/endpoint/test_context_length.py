"""The context's length is read from all endpoints at once, by one probe for all callers."""

import asyncio
from typing import Any

import pytest

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRejected,
    JudgeUnavailable,
)
from podium_service.judges.endpoint.context_length import (
    DEFAULT_CONTEXT_TOKENS,
    RETRY_S,
    ContextLength,
    find_length,
)
from podium_service.judges.endpoint.endpoint import Endpoint
from podium_service.judges.endpoint.errors import ContextOverflow, ParameterRejected
from podium_service.judges.endpoint.refusals.words import Words
from tests.fakes import until

pytestmark = pytest.mark.anyio

SMALL = [{"id": "other", "max_model_len": 512}, {"id": "m", "max_model_len": 4096}]
UNSAID = [{"id": "m"}]
# The members that matter here of what each server answers to `GET /models`.
LLAMA_CPP = {
    "id": "/models/qwen.gguf", "aliases": ["qwen"], "owned_by": "llamacpp",
    "meta": {"n_vocab": 151936, "n_ctx": 8192, "n_ctx_train": 32768},
}  # fmt: skip
LM_STUDIO = {"id": "qwen", "max_context_length": 32768, "loaded_context_length": 4096}
OPEN_ROUTER = {
    "id": "qwen/qwen3-32b", "context_length": 131072, "top_provider": {"context_length": 40960},
}  # fmt: skip
DOWN = JudgeUnavailable("down")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Listing(Endpoint):
    """An endpoint whose `/models` gives or raises `answer` at once; with None not before it is
    given one."""

    def __init__(self, answer: list[dict[str, Any]] | Exception | None) -> None:
        self.base_url = "http://judge/v1"
        self.answer = answer
        self.asked = self.in_flight = 0

    async def models(self) -> list[dict[str, Any]]:
        self.asked += 1
        self.in_flight += 1
        try:
            await until(lambda: self.answer is not None)
        finally:
            self.in_flight -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


def make_context(*endpoints: Listing) -> tuple[ContextLength, Clock]:
    clock = Clock()
    return ContextLength("main", "m", endpoints, clock), clock


@pytest.mark.parametrize(
    ("entry", "length"),
    [
        ({"id": "m", "max_model_len": 2048}, 2048),
        ({"id": "m", "max_model_len": "2048"}, 2048),
        ({"id": "m", "providers": [{"context_length": 8192}, {"context_length": 4096}]}, 4096),
        ({"id": "m", "parameters": {"max_seq_len": 2048, "rope_scale": 1.0}}, 2048),
        ({"id": "m", "limit": {"context": 2048, "output": 512}}, 2048),
        ({"id": "m", "model_limits": {"max_sequence_length": 2048}}, 2048),
        ({"id": "m", "meta": {"context_window_size": 2048, "size": 1}}, 2048),
        ({"id": "m", "details": {"num_ctx": 2048, "parameter_size": "7B"}}, 2048),
        ({"id": "m", "max_model_len": 2048.0}, 2048),
        ({"id": "m", "metadata": {"context_length": 2048, "max_tokens": 64}}, 2048),
        ({"id": "m", "capabilities": {"limits": {"max_context_window_tokens": 2048}}}, 2048),
        ({"id": "m", "model_spec": {"availableContextTokens": 2048}}, 2048),
        ({"id": "m", "model_info": {"max_input_tokens": 2048, "max_output_tokens": 64}}, 2048),
        ({"id": "m", "inputTokenLimit": 2048, "outputTokenLimit": 64}, 2048),
        ({"id": "m", "config": {"max_position_embeddings": 2048}}, 2048),
        ({"id": "m", "context_size": 2048, "max_output_tokens": 64}, 2048),
        ({"id": "models/m", "name": "models/m", "inputTokenLimit": 2048}, 2048),
        (LLAMA_CPP, 8192),
        ({"id": "m", "meta": {"n_ctx_train": 32768}}, 0),  # an older llama.cpp
        (LM_STUDIO, 4096),
        (OPEN_ROUTER, 40960),
        ({"id": "m", "context_window": 131072}, 131072),
        ({"id": "m", "max_context_length": 32768, "aliases": ["mistral-small-latest"]}, 32768),
        ({"id": "m", "max_input_tokens": 200000}, 200000),
        ({"id": "m", "max_model_len": True, "meta": "none", "context_length": 1024}, 1024),
    ],
    ids=str,
)
def test_the_length_is_read_as_each_server_writes_it(entry: dict[str, Any], length: int) -> None:
    assert find_length(entry["id"], [{"id": "other", "max_model_len": 512}, entry]) == length


def test_the_only_model_of_a_server_is_meant_by_any_name() -> None:
    assert find_length("m", [LLAMA_CPP]) == 8192
    assert find_length("qwen", [LLAMA_CPP, OPEN_ROUTER]) == 8192  # its alias
    assert find_length("m", [LLAMA_CPP, OPEN_ROUTER]) == 0


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("qwen3", "qwen3:latest"),
        ("x/y:nitro", "x/y"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("gpt-5-mini-latest", "gpt-5-mini-2025-08-07"),
    ],
)
def test_a_model_is_found_under_a_related_name(model: str, listed: str) -> None:
    others = [{"id": f"{listed}-other", "context_length": 512}, {"id": "o", "context_length": 600}]
    assert find_length(model, [*others, {"id": listed, "context_length": 200_000}]) == 200_000
    exact = {"id": model, "context_length": 100_000}
    assert find_length(model, [{"id": listed, "context_length": 200_000}, exact]) == 100_000


async def test_callers_share_one_probe_that_outlives_a_cancelled_one() -> None:
    slow = Listing(None)
    context, _ = make_context(slow)
    first, *others = [asyncio.create_task(context.get_tokens()) for _ in range(5)]
    await until(lambda: slow.in_flight == 1)
    first.cancel()
    await asyncio.wait([first])
    slow.answer = SMALL
    assert await asyncio.gather(*others) == [4096] * 4
    assert await context.get_tokens() == 4096
    assert (first.cancelled(), slow.asked) == (True, 1)


async def test_a_probe_without_callers_serves_later_callers() -> None:
    slow = Listing(None)
    context, _ = make_context(slow)
    caller = asyncio.create_task(context.get_tokens())
    await until(lambda: slow.in_flight == 1)
    caller.cancel()
    await asyncio.wait([caller])
    slow.answer = SMALL
    assert await context.get_tokens() == 4096
    assert slow.asked == 1


async def test_the_first_length_that_an_endpoint_gives_is_enough() -> None:
    hanging, unsaid, small = Listing(None), Listing(UNSAID), Listing(SMALL)
    context, _ = make_context(hanging, Listing(DOWN), unsaid, small)
    assert await context.get_tokens() == 4096
    await until(lambda: hanging.in_flight == 0)  # its probe is cancelled
    assert (hanging.asked, unsaid.asked, small.asked) == (1, 1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        UNSAID, [], [{"id": "m", "max_model_len": "8k"}], [{"id": "m", "max_model_len": 0}],
        JudgeRejected("404"), ParameterRejected("400", Words("no"), JudgeRejected("400")),
        ContextOverflow("400"),
    ],
    ids=str,
)  # fmt: skip
async def test_an_answer_without_a_length_means_the_default_for_good(
    answer: list[dict[str, object]] | Exception,
) -> None:
    without_length, down = Listing(answer), Listing(DOWN)
    context, clock = make_context(down, without_length)
    assert await context.get_tokens() == DEFAULT_CONTEXT_TOKENS
    clock.now += 2 * RETRY_S
    without_length.answer = SMALL
    assert await context.get_tokens() == DEFAULT_CONTEXT_TOKENS
    assert (without_length.asked, down.asked) == (1, 1)


@pytest.mark.parametrize("error", [DOWN, JudgeRateLimited("429"), JudgeQuotaExhausted("429")])
async def test_endpoints_that_do_not_answer_are_asked_again_later(
    error: Exception,
) -> None:
    failing = Listing(error)
    context, clock = make_context(failing, Listing(DOWN))
    for _ in range(2):
        assert await context.get_tokens() == DEFAULT_CONTEXT_TOKENS
        clock.now += RETRY_S - 1
    assert failing.asked == 1
    failing.answer = SMALL
    assert await context.get_tokens() == 4096
    assert failing.asked == 2


async def test_a_closed_judge_cancels_its_probe() -> None:
    hanging = Listing(None)
    context, _ = make_context(hanging)
    await context.aclose()
    caller = asyncio.create_task(context.get_tokens())
    await until(lambda: hanging.in_flight == 1)
    await context.aclose()
    await until(lambda: hanging.in_flight == 0)
    await asyncio.wait([caller])
    assert caller.cancelled()
