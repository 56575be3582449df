"""Parameters that an endpoint refuses are given up one by one, and that is remembered."""

import asyncio
from typing import Any

import pytest

from podium_service.errors import (
    JudgeRejected,
)
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    chooses,
    fails,
)
from tests.service.helpers import endpoint_judge
from tests.service.judges.builders import (
    CHOICE,
    GOOD,
    ask,
    choose,
    open_judge,
)

pytestmark = pytest.mark.anyio


async def test_parameters_that_are_not_configured_are_not_sent() -> None:
    async with open_judge(GOOD) as (judge, scripted):
        await ask(judge)
    body = scripted.asked[0].body
    assert set(body) == {"model", "messages", "max_completion_tokens", "response_format"}
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == list(scripted.asked[0].shown)


async def test_response_formats_are_tried_in_order_and_remembered() -> None:
    no_schema = fails(400, "response_format.type json_schema is not supported")
    no_object = fails(400, "Invalid parameter: response_format")
    async with open_judge(no_schema, no_object, GOOD, GOOD) as (judge, scripted):
        await ask(judge)
        await ask(judge)
    formats = [asked.body.get("response_format", {}).get("type") for asked in scripted.asked]
    assert formats == ["json_schema", "json_object", None, None]


@pytest.mark.parametrize("fixed", ["json_schema", "json_object"])
async def test_the_refusal_of_a_configured_response_format_stands(fixed: str) -> None:
    refusal = fails(400, "Invalid parameter: response_format")
    async with open_judge(always=refusal, response_format=fixed) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected, match="response_format"):
                await ask(judge)
    assert [asked.body["response_format"]["type"] for asked in scripted.asked] == [fixed] * 2


async def test_a_model_that_cannot_think_is_not_told_how_long() -> None:
    refusal = fails(400, '"llama3" does not support thinking')
    settings: dict[str, Any] = {"reasoning_effort": "low", "temperature": 0.5}
    async with open_judge(refusal, GOOD, **settings) as (judge, scripted):
        await ask(judge)
    assert [asked.body.get("reasoning_effort") for asked in scripted.asked] == ["low", None]
    assert all(asked.body["temperature"] == 0.5 for asked in scripted.asked)


async def test_thinking_in_extra_body_is_dropped_by_its_own_name() -> None:
    refusal = fails(400, "thinking: Extra inputs are not permitted")
    settings: dict[str, Any] = {
        "reasoning_effort": "low",
        "extra_body": {"thinking": {"type": "enabled"}},
    }
    async with open_judge(refusal, GOOD, **settings) as (judge, scripted):
        await ask(judge)
    assert "thinking" not in scripted.asked[1].body
    assert scripted.asked[1].body["reasoning_effort"] == "low"


async def test_a_parameter_that_a_400_names_is_dropped_for_good() -> None:
    script = [
        fails(400, "Unsupported parameter: 'max_completion_tokens'"),
        fails(400, "Unsupported value: 'temperature' does not support 0"),
        fails(422, "extra_forbidden: top_k"),
    ]
    async with open_judge(
        *script, GOOD, GOOD, temperature=0, seed=7, extra_body={"top_k": 1, "min_p": 0}
    ) as (judge, scripted):
        await ask(judge)
        await ask(judge)
    first, last = scripted.asked[0].body, scripted.asked[-1].body
    assert first["temperature"] == 0
    assert first["top_k"] == 1
    assert last["max_tokens"] == 500
    assert {"temperature", "top_k", "max_completion_tokens"}.isdisjoint(last)
    assert (last["seed"], last["min_p"]) == (7, 0)


async def test_concurrent_calls_give_up_a_parameter_together() -> None:
    def picky(asked: Asked) -> Answer:
        return (fails(400, "no temperature") if "temperature" in asked.body else GOOD)(asked)

    async with ScriptedJudge(always=picky, hold=3).serving() as scripted:
        judge = endpoint_judge(scripted.url, temperature=0)
        await asyncio.gather(*(ask(judge) for _ in range(3)))
        await judge.aclose()
    assert scripted.calls == 6


async def test_a_refused_token_cap_in_extra_body_is_dropped() -> None:
    def old_server(asked: Asked) -> Answer:
        refused = "max_completion_tokens" in asked.body
        return (fails(400, "unknown: max_completion_tokens") if refused else GOOD)(asked)

    body = {"max_completion_tokens": 8000}
    async with open_judge(always=old_server, extra_body=body) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 3  # with both names twice, then with the older one alone
    assert scripted.asked[-1].body["max_tokens"] == 500


@pytest.mark.parametrize("format", [{"type": "json_schema"}, "json_schema", None])
async def test_a_refusal_that_changes_nothing_stands(format: object) -> None:
    """A format in `extra_body` is not given up, because the refusal does not name its key."""
    refusal = fails(400, "json_schema is not supported")
    body = {"response_format": format}
    async with open_judge(always=refusal, extra_body=body) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected):
                await ask(judge)
    assert scripted.calls == 3 + 1  # three formats once, then the one in the body


async def test_a_refusal_that_names_no_parameter_drops_none() -> None:
    refusal = fails(400, "nothing about it")
    async with open_judge(always=refusal, extra_body={"n": 1}) as (judge, scripted):
        with pytest.raises(JudgeRejected):
            await ask(judge)
    assert all(asked.body["n"] == 1 for asked in scripted.asked)
    assert all(asked.body["max_completion_tokens"] == 500 for asked in scripted.asked)


async def test_numbers_of_logprobs_are_tried_in_order_and_remembered() -> None:
    script = [
        fails(400, "top_logprobs must be at most 5"),
        fails(400, "'logprobs' is not supported with reasoning models"),
        chooses(lambda one, two: 0.75, logprobs=False),
        chooses(lambda one, two: 0.75, logprobs=False),
    ]
    async with open_judge(*script) as (judge, scripted):
        first, second = await choose(judge), await choose(judge)
    asked = [each.body.get("top_logprobs") for each in scripted.asked]
    assert asked == [20, 5, None, None]
    assert "logprobs" not in scripted.asked[-1].body
    assert first.scores == second.scores == [1, 0]


@pytest.mark.parametrize("alternatives", [0, 20])
async def test_the_refusal_of_top_logprobs_in_extra_body_stands(alternatives: int) -> None:
    refusal = fails(400, "no logprobs here")
    body = {"top_logprobs": alternatives}
    async with open_judge(always=refusal, extra_body=body) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected):
                await choose(judge)
    asked = [each.body["top_logprobs"] for each in scripted.asked]
    assert asked == [20, 5, alternatives, alternatives]


async def test_probabilities_are_read_with_five_alternatives_a_token() -> None:
    refused = fails(422, "top_logprobs: Input should be less than or equal to 5")
    async with open_judge(refused, CHOICE, CHOICE) as (judge, scripted):
        first, _ = await choose(judge), await choose(judge)
    assert [each.body["top_logprobs"] for each in scripted.asked] == [20, 5, 5]
    assert all(each.body["logprobs"] is True for each in scripted.asked)
    assert first.scores == pytest.approx([0.75, 0.25])


async def test_concurrent_refusals_of_logprobs_are_one_step() -> None:
    def picky(asked: Asked) -> Answer:
        if asked.body.get("top_logprobs", 0) > 5:
            return fails(400, "top_logprobs must be at most 5")(asked)
        return CHOICE(asked)

    async with ScriptedJudge(always=picky, hold=3).serving() as scripted:
        judge = endpoint_judge(scripted.url)
        await asyncio.gather(*(choose(judge) for _ in range(3)))
        await judge.aclose()
    assert [each.body["top_logprobs"] for each in scripted.asked] == [20, 20, 20, 5, 5, 5]


async def test_only_forms_that_read_probabilities_ask_for_them() -> None:
    async with open_judge(GOOD, CHOICE) as (judge, scripted):
        await ask(judge)
        await choose(judge)
    scores_call, choice_call = (each.body for each in scripted.asked)
    assert "logprobs" not in scores_call
    assert "response_format" not in choice_call


async def test_a_400_about_logprobs_that_were_not_sent_drops_nothing() -> None:
    async with open_judge(always=fails(400, "logprobs are wrong")) as (judge, scripted):
        with pytest.raises(JudgeRejected):
            await ask(judge)
    assert not any("logprobs" in asked.body for asked in scripted.asked)
