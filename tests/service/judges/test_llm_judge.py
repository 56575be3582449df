"""A reply becomes a verdict, after one correction or one longer reply, or a typed failure."""

import json
from dataclasses import replace
from typing import Any

import pytest

from podium_service.errors import (
    JudgeRefused,
    VerdictInvalid,
    VerdictTruncated,
)
from podium_service.judges.endpoint.errors import ContextOverflow
from podium_service.prompts.call import Call
from podium_service.prompts.reply import Tokens
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    says,
)
from tests.service.helpers import endpoint_judge
from tests.service.judges.builders import (
    CHOICE,
    GOOD,
    ask,
    choose,
    make_prompt,
    open_judge,
)

pytestmark = pytest.mark.anyio


async def test_a_good_reply_is_one_call() -> None:
    async with open_judge(GOOD) as (judge, scripted):
        verdict = await ask(judge)
    assert scripted.calls == 1
    assert verdict.order == [1, 0]
    assert verdict.scores == [by_length(text) for text in scripted.asked[0].shown.values()]


@pytest.mark.parametrize(
    "usage",
    [
        "none",
        [1],
        {"prompt_tokens": "many", "completion_tokens": -3},
        {"prompt_tokens": [1], "prompt_tokens_details": [2], "completion_tokens": 2**64 - 1},
        {"prompt_tokens": None, "prompt_tokens_details": {"cached_tokens": "x"}},
    ],
)
async def test_a_verdict_counts_whatever_tokens_its_endpoint_reports(usage: Any) -> None:
    def miscounted(asked: Asked) -> Answer:
        answer = GOOD(asked)
        assert isinstance(answer.body, dict)
        return replace(answer, body={**answer.body, "usage": usage})

    calls: list[Call] = []
    async with open_judge(miscounted) as (judge, _):
        await ask(judge, calls=calls)
    assert [call.reply.tokens for call in calls] == [Tokens()]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("I like the first one", "there is no JSON object in it"),
        ('{"A": {"score": 1}}', "'A' is not one of the ids shown"),
    ],
)
async def test_a_faulty_reply_gets_one_correction_that_names_the_fault(
    reply: str, fault: str
) -> None:
    calls: list[Call] = []
    async with open_judge(says(reply), GOOD) as (judge, scripted):
        await ask(judge, calls=calls)
    roles = [message["role"] for message in scripted.asked[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert fault in scripted.asked[1].body["messages"][-1]["content"]
    assert [call.fault for call in calls] == [fault, None]  # both are kept, because both were paid


async def test_an_empty_reply_is_repeated_before_it_is_corrected() -> None:
    async with open_judge(says(""), says("  "), GOOD) as (judge, scripted):
        await ask(judge)
    first, second, third = (asked.body["messages"] for asked in scripted.asked)
    assert second == first
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user"]
    assert all(message["content"].strip() for message in third)
    assert "it is empty" in third[-1]["content"]


@pytest.mark.parametrize(
    "score", ["7", "-0.1", '"80%"', "NaN", "Infinity", "true", "null", "1e999"]
)
async def test_a_score_off_the_scale_is_corrected_and_not_clipped(score: str) -> None:
    def off_the_scale(asked: Asked) -> Answer:
        entries = (f'"{shown}": {{"score": {score}}}' for shown in asked.shown)
        return says("{" + ", ".join(entries) + "}")(asked)

    async with open_judge(off_the_scale, GOOD) as (judge, scripted):
        await ask(judge)
    assert "the score of" in scripted.asked[1].body["messages"][-1]["content"]


async def test_two_faulty_replies_are_a_typed_failure() -> None:
    async with open_judge(says("?"), says("??")) as (judge, _):
        with pytest.raises(VerdictInvalid, match="no JSON object in it, after one correction"):
            await ask(judge)


async def test_a_cut_off_reply_is_asked_again_with_twice_the_tokens() -> None:
    cut_off = says('{"', finish_reason="length", tokens=500)
    async with open_judge(cut_off, GOOD) as (judge, scripted):
        await ask(judge)
    caps = [asked.body["max_completion_tokens"] for asked in scripted.asked]
    assert caps == [500, 1000]
    assert scripted.asked[1].body["messages"] == scripted.asked[0].body["messages"]


async def test_a_reply_cut_off_below_its_cap_is_a_context_overflow() -> None:
    async with open_judge(says("{", finish_reason="length")) as (judge, _):
        with pytest.raises(ContextOverflow, match="below the cap"):
            await ask(judge)


async def test_a_complete_verdict_counts_even_at_the_token_cap() -> None:
    def at_the_cap(asked: Asked) -> Answer:
        body = GOOD(asked).body
        assert isinstance(body, dict)
        body["choices"][0]["finish_reason"] = "length"
        return Answer(body)

    async with open_judge(at_the_cap) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 1


async def test_a_reply_cut_off_twice_is_a_typed_failure() -> None:
    cut_off = says("{", finish_reason="length", tokens=500)
    async with open_judge(cut_off, cut_off) as (judge, _):
        with pytest.raises(VerdictTruncated, match="cut off after 500 tokens"):
            await ask(judge)


@pytest.mark.parametrize(
    "step",
    [says(None, refusal="I cannot judge this"), says("", finish_reason="content_filter")],
)
async def test_a_refusal_is_a_typed_failure_without_a_correction(step: Step) -> None:
    async with open_judge(step) as (judge, scripted):
        with pytest.raises(JudgeRefused):
            await ask(judge)
    assert scripted.calls == 1


async def test_a_verdict_in_the_reasoning_field_is_read() -> None:
    def reasoned(asked: Asked) -> Answer:
        body = GOOD(asked).body
        assert isinstance(body, dict)
        message = body["choices"][0]["message"]
        message["reasoning_content"], message["content"] = message["content"], None
        return Answer(body)

    async with open_judge(reasoned) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 1


async def test_the_context_is_read_from_models_unless_it_is_configured() -> None:
    async with ScriptedJudge(always=GOOD, max_model_len=4096).serving() as scripted:
        judge = endpoint_judge(scripted.url, context_tokens=None)
        assert await judge.context_tokens() == 4096
        await judge.aclose()
    async with ScriptedJudge(always=GOOD).serving() as scripted:
        judge = endpoint_judge(scripted.url, context_tokens=None)
        assert await judge.context_tokens() == 32_768
        await judge.aclose()


def test_the_reply_cap_leaves_reasoning_tokens_in_large_contexts() -> None:
    judge = endpoint_judge("http://127.0.0.1:9/v1")
    assert judge.reply_tokens("scores", 8, 2048) == 160 * 8 + 64
    assert judge.reply_tokens("scores", 8, 128_000) == 160 * 8 + 64 + 4096
    capped = endpoint_judge("http://127.0.0.1:9/v1", max_tokens=300)
    assert capped.reply_tokens("scores", 8, 128_000) == 300


def test_a_prompt_for_the_judge_is_json() -> None:
    assert json.dumps(make_prompt().chat())


async def test_a_choice_without_a_letter_is_corrected_with_the_letters() -> None:
    async with open_judge(says("hm"), CHOICE) as (judge, scripted):
        await choose(judge)
    letters = list(scripted.asked[0].shown)
    correction = scripted.asked[1].body["messages"][-1]["content"]
    assert "one letter and nothing else" in correction
    assert all(letter in correction for letter in letters)
    assert list(scripted.asked[1].shown) == letters  # a correction shows the same trajectories
