"""The judge loop against a scripted judge: each row of what goes wrong in practice."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from podium_service.errors import (
    JudgeError,
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRefused,
    JudgeRejected,
    JudgeUnavailable,
    VerdictInvalid,
    VerdictTruncated,
)
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.errors import ContextOverflow, read_retry_after
from podium_service.judges.group_budget import Budget
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.prompts.call import Call
from podium_service.prompts.reply import Tokens
from podium_service.prompts.templates import Prompt, choice_prompt, scores_prompt
from podium_service.prompts.transcript import transcribe
from podium_service.prompts.verdict import Verdict
from podium_service.telemetry.metrics import Metrics
from tests.fakes import (
    Answer,
    Asked,
    ScriptedJudge,
    Step,
    by_length,
    chooses,
    drops,
    fails,
    hangs,
    says,
    scores,
    until,
)
from tests.service.helpers import endpoint_judge, request

pytestmark = pytest.mark.anyio

GOOD = scores(by_length)


def prompt() -> Prompt:
    transcript = transcribe(request("5", "five"), [0, 1])
    return scores_prompt("You are a judge.", transcript, [1, 0])


@asynccontextmanager
async def judging(
    *script: Step, always: Step | None = None, **settings: Any
) -> AsyncIterator[tuple[EndpointJudge, ScriptedJudge]]:
    async with ScriptedJudge(script, always=always).serving() as scripted:
        judge = endpoint_judge(scripted.url, **settings)
        try:
            yield judge, scripted
        finally:
            await judge.aclose()


async def ask(judge: EndpointJudge, calls: list[Call] | None = None) -> Verdict:
    return await judge.ask(
        prompt(), 500, (calls if calls is not None else []).append, Budget(None), RequestContext()
    )


async def test_a_good_reply_is_one_call() -> None:
    async with judging(GOOD) as (judge, scripted):
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
async def test_a_verdict_is_worth_the_same_whatever_its_endpoint_counts(usage: Any) -> None:
    def miscounted(asked: Asked) -> Answer:
        answer = GOOD(asked)
        assert isinstance(answer.body, dict)
        return replace(answer, body={**answer.body, "usage": usage})

    calls: list[Call] = []
    async with judging(miscounted) as (judge, _):
        await ask(judge, calls)
    assert [call.reply.tokens for call in calls] == [Tokens()]


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("I like the first one", "there is no JSON object in it"),
        ("", "it is empty"),
        ('{"A": {"score": 1}}', "'A' is not one of the ids shown"),
    ],
)
async def test_a_faulty_reply_gets_one_correction_that_names_the_fault(
    reply: str, fault: str
) -> None:
    calls: list[Call] = []
    async with judging(says(reply), GOOD) as (judge, scripted):
        await ask(judge, calls)
    roles = [message["role"] for message in scripted.asked[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert fault in scripted.asked[1].body["messages"][-1]["content"]
    assert [call.fault for call in calls] == [fault, None]  # both were paid, both are kept


@pytest.mark.parametrize(
    "score", ["7", "-0.1", '"0.8"', "NaN", "Infinity", "true", "null", "1e999"]
)
async def test_a_score_off_the_scale_is_corrected_not_clipped(score: str) -> None:
    def off(asked: Asked) -> Answer:
        entries = (f'"{shown}": {{"score": {score}}}' for shown in asked.shown)
        return says("{" + ", ".join(entries) + "}")(asked)

    async with judging(off, GOOD) as (judge, scripted):
        await ask(judge)
    assert "the score of" in scripted.asked[1].body["messages"][-1]["content"]


async def test_two_faulty_replies_are_a_typed_failure() -> None:
    async with judging(says("?"), says("??")) as (judge, _):
        with pytest.raises(VerdictInvalid, match="no JSON object in it, after one correction"):
            await ask(judge)


async def test_a_reply_that_is_cut_off_is_asked_for_again_with_twice_the_tokens() -> None:
    async with judging(says('{"', finish_reason="length", tokens=500), GOOD) as (judge, scripted):
        await ask(judge)
    caps = [asked.body["max_completion_tokens"] for asked in scripted.asked]
    assert caps == [500, 1000]
    assert scripted.asked[1].body["messages"] == scripted.asked[0].body["messages"]


async def test_a_reply_cut_off_below_its_cap_means_that_the_context_is_full() -> None:
    async with judging(says("{", finish_reason="length")) as (judge, _):
        with pytest.raises(ContextOverflow, match="below the cap"):
            await ask(judge)


async def test_a_complete_verdict_counts_even_at_the_token_cap() -> None:
    def at_the_cap(asked: Asked) -> Answer:
        body = GOOD(asked).body
        assert isinstance(body, dict)
        body["choices"][0]["finish_reason"] = "length"
        return Answer(body)

    async with judging(at_the_cap) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 1


async def test_cut_off_twice_is_a_typed_failure() -> None:
    cut = says("{", finish_reason="length", tokens=500)
    async with judging(cut, cut) as (judge, _):
        with pytest.raises(VerdictTruncated, match="cut off after 500 tokens"):
            await ask(judge)


@pytest.mark.parametrize(
    "step",
    [says(None, refusal="I cannot judge this"), says("", finish_reason="content_filter")],
)
async def test_a_refusal_is_not_argued_with(step: Step) -> None:
    async with judging(step) as (judge, scripted):
        with pytest.raises(JudgeRefused):
            await ask(judge)
    assert scripted.calls == 1


async def test_json_in_the_reasoning_field_is_read() -> None:
    def reasoned(asked: Asked) -> Answer:
        body = GOOD(asked).body
        assert isinstance(body, dict)
        message = body["choices"][0]["message"]
        message["reasoning_content"], message["content"] = message["content"], None
        return Answer(body)

    async with judging(reasoned) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 1


async def test_an_endpoint_that_errs_is_asked_again() -> None:
    async with judging(fails(500), drops, GOOD, attempts=3) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 3


async def test_attempts_are_bounded() -> None:
    async with judging(fails(503), fails(502, "bad gateway")) as (judge, _):
        with pytest.raises(JudgeUnavailable, match="502: bad gateway"):
            await ask(judge)


async def test_an_attempt_that_hangs_ends_at_its_timeout() -> None:
    async with judging(hangs, GOOD, timeout_s=4) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


async def test_an_answer_that_is_no_chat_completion_is_an_endpoint_that_errs() -> None:
    def html(asked: Asked) -> Answer:
        return Answer("<html>gateway</html>")

    async with judging(html, GOOD) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


async def test_retry_after_is_a_floor_that_all_callers_of_the_endpoint_keep() -> None:
    clock = asyncio.get_running_loop().time
    came: list[float] = []

    def timed(asked: Asked) -> Answer:
        came.append(clock())
        return GOOD(asked)

    async with judging(fails(429, retry_after="1"), always=timed) as (judge, _):
        started = clock()
        limited = asyncio.create_task(ask(judge))
        await until(lambda: judge.endpoints[0].paused_until > 0)
        await asyncio.gather(limited, ask(judge))
    assert len(came) == 2
    assert all(moment - started >= 1 for moment in came)


async def test_a_rate_limit_beyond_our_patience_is_told_to_the_caller() -> None:
    async with judging(fails(429, retry_after="600"), timeout_s=5) as (judge, scripted):
        with pytest.raises(JudgeRateLimited) as caught:
            await ask(judge)
    assert scripted.calls == 1
    assert caught.value.retry_after_s == pytest.approx(600, abs=5)


async def test_how_long_an_endpoint_asks_to_wait_with_a_503_is_told_to_the_caller() -> None:
    async with judging(fails(503, retry_after="7"), attempts=1) as (judge, _):
        with pytest.raises(JudgeUnavailable) as caught:
            await ask(judge)
    assert caught.value.retry_after == 7


async def test_no_credit_dressed_as_429_is_not_retried() -> None:
    step = fails(429, "You exceeded your current quota", code="insufficient_quota")
    async with judging(step) as (judge, scripted):
        with pytest.raises(JudgeQuotaExhausted):
            await ask(judge)
    assert scripted.calls == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_key_or_model_that_is_refused_is_not_retried(status: int) -> None:
    async with judging(fails(status, "no such model")) as (judge, scripted):
        with pytest.raises(JudgeRejected, match=f"{status}: no such model"):
            await ask(judge)
    assert scripted.calls == 1


async def test_a_redirect_is_not_followed() -> None:
    async with judging(fails(307, location="http://127.0.0.1:9/v1")) as (judge, _):
        with pytest.raises(JudgeRejected, match="307"):
            await ask(judge)


async def test_the_response_format_ladder_is_stepped_down_once_and_remembered() -> None:
    no_schema = fails(400, "response_format.type json_schema is not supported")
    no_object = fails(400, "Invalid parameter: response_format")
    async with judging(no_schema, no_object, GOOD, GOOD) as (judge, scripted):
        await ask(judge)
        await ask(judge)
    formats = [asked.body.get("response_format", {}).get("type") for asked in scripted.asked]
    assert formats == ["json_schema", "json_object", None, None]


@pytest.mark.parametrize("fixed", ["json_schema", "json_object"])
async def test_a_configured_response_format_is_kept_and_its_refusal_stands(fixed: str) -> None:
    refusal = fails(400, "Invalid parameter: response_format")
    async with judging(always=refusal, response_format=fixed) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected, match="response_format"):
                await ask(judge)
    assert [asked.body["response_format"]["type"] for asked in scripted.asked] == [fixed] * 2


async def test_a_parameter_that_a_400_names_is_dropped_and_that_is_remembered() -> None:
    script = [
        fails(400, "Unsupported parameter: 'max_completion_tokens'"),
        fails(400, "Unsupported value: 'temperature' does not support 0"),
        fails(422, "extra_forbidden: top_k"),
    ]
    async with judging(
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


async def test_calls_side_by_side_give_up_a_parameter_together() -> None:
    def picky(asked: Asked) -> Answer:
        return (fails(400, "no temperature") if "temperature" in asked.body else GOOD)(asked)

    async with ScriptedJudge(always=picky, hold=3).serving() as scripted:
        judge = endpoint_judge(scripted.url, temperature=0)
        await asyncio.gather(*(ask(judge) for _ in range(3)))
        await judge.aclose()
    assert scripted.calls == 6


async def test_a_cap_in_extra_body_is_dropped_as_any_other_parameter_that_a_400_names() -> None:
    def old_server(asked: Asked) -> Answer:
        refused = "max_completion_tokens" in asked.body
        return (fails(400, "unknown: max_completion_tokens") if refused else GOOD)(asked)

    body = {"max_completion_tokens": 8000}
    async with judging(always=old_server, extra_body=body) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 3  # with both names, then with the older one alone
    assert scripted.asked[-1].body["max_tokens"] == 500


@pytest.mark.parametrize("format", [{"type": "json_schema"}, "json_schema", None])
async def test_a_refusal_that_changes_nothing_stands(format: object) -> None:
    """A format in extra_body is on no ladder, and the refusal does not name its key."""
    refusal = fails(400, "json_schema is not supported")
    async with judging(always=refusal, extra_body={"response_format": format}) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected):
                await ask(judge)
    assert scripted.calls == 3 + 1  # the ladder once, then what is under it


async def test_a_400_that_names_nothing_of_ours_is_a_typed_failure() -> None:
    async with judging(fails(400, "the moon is wrong")) as (judge, _):
        with pytest.raises(JudgeRejected, match="400: the moon is wrong"):
            await ask(judge)


async def test_a_400_about_the_context_is_told_apart() -> None:
    message = "This model's maximum context length is 2048 tokens, max_completion_tokens is 500"
    async with judging(fails(400, message)) as (judge, _):
        with pytest.raises(ContextOverflow):
            await ask(judge)


async def test_parameters_that_are_not_configured_are_not_sent() -> None:
    async with judging(GOOD) as (judge, scripted):
        await ask(judge)
    body = scripted.asked[0].body
    assert set(body) == {"model", "messages", "max_completion_tokens", "response_format"}
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == list(scripted.asked[0].shown)


async def test_the_key_goes_to_the_endpoint_and_into_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    step = fails(401, "Incorrect API key provided: sk-very-secret")
    async with judging(step, api_key_env="JUDGE_KEY") as (judge, scripted):
        with pytest.raises(JudgeRejected) as caught:
            await ask(judge)
    assert scripted.asked[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in str(caught.value)


KEY = "sk-0123456789-abcdefghijklmnopqrstuvwxyz"  # 40 characters


@pytest.mark.parametrize(
    "step",
    [
        fails(401, "x" * 480 + KEY),  # errors quote 500 characters
        lambda asked: Answer("x" + 30 * KEY),  # and 100 of what is no JSON
    ],
)
async def test_no_part_of_the_key_is_left_where_words_are_cut(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    async with judging(step, api_key_env="JUDGE_KEY", attempts=1) as (judge, _):
        with pytest.raises(JudgeError, match=r"x\*\*\*") as caught:
            await ask(judge)
    assert "sk-" not in str(caught.value)
    assert "012345" not in str(caught.value)


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with judging(GOOD) as (judge, _):
        await ask(judge)


async def test_a_dead_base_url_sends_its_calls_to_the_other() -> None:
    async with ScriptedJudge(always=GOOD).serving() as alive:
        judge = endpoint_judge("http://127.0.0.1:9/v1", attempts=2)
        config = judge.config.model_copy(update={"base_urls": [*judge.config.base_urls, alive.url]})
        await judge.aclose()
        judge = EndpointJudge("main", config, Metrics())
        await asyncio.gather(*(ask(judge) for _ in range(5)))
        await judge.aclose()
    assert alive.calls == 5


async def test_calls_go_to_the_least_busy_base_url() -> None:
    slow = scores(by_length, delay_s=0.2)
    async with (
        ScriptedJudge(always=slow, hold=5).serving() as one,
        ScriptedJudge(always=slow, hold=5).serving() as two,
    ):
        judge = endpoint_judge(one.url)
        config = judge.config.model_copy(update={"base_urls": [one.url, two.url]})
        await judge.aclose()
        judge = EndpointJudge("main", config, Metrics())
        await asyncio.gather(*(ask(judge) for _ in range(20)))
        await judge.aclose()
    assert min(one.calls, two.calls) >= 8


async def test_no_more_calls_than_configured_are_in_flight() -> None:
    async with judging(always=scores(by_length, delay_s=0.05), concurrency=2) as (judge, scripted):
        await asyncio.gather(*(ask(judge) for _ in range(6)))
    assert scripted.max_in_flight == 2


async def test_the_context_comes_from_models_where_the_config_is_silent() -> None:
    async with ScriptedJudge(always=GOOD, max_model_len=4096).serving() as scripted:
        judge = endpoint_judge(scripted.url, context_tokens=None)
        assert await judge.context_tokens() == 4096
        await judge.aclose()
    async with ScriptedJudge(always=GOOD).serving() as scripted:
        judge = endpoint_judge(scripted.url, context_tokens=None)
        assert await judge.context_tokens() == 32_768
        await judge.aclose()


def test_the_reply_cap_is_tight_in_a_small_context_and_leaves_room_to_think_in_a_large() -> None:
    judge = endpoint_judge("http://127.0.0.1:9/v1")
    assert judge.reply_tokens("scores", 8, 2048) == 160 * 8 + 64
    assert judge.reply_tokens("scores", 8, 128_000) == 160 * 8 + 64 + 4096
    capped = endpoint_judge("http://127.0.0.1:9/v1", max_tokens=300)
    assert capped.reply_tokens("scores", 8, 128_000) == 300


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert read_retry_after({"retry-after": "2.5"}) == 2.5
    assert read_retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for unreadable in ("soon", "inf", "nan", "-1", ""):
        assert read_retry_after({"retry-after": unreadable}) is None
    assert read_retry_after({"retry-after": "999999999"}) == 3600
    assert read_retry_after({}) is None


def test_prompts_for_the_judge_are_json_that_any_server_takes() -> None:
    assert json.dumps(prompt().chat())


async def test_an_endpoint_without_credit_is_left_alone_for_a_while() -> None:
    step = fails(429, "You exceeded your current quota", code="insufficient_quota")
    async with judging(always=step) as (judge, scripted):
        for _ in range(3):
            with pytest.raises(JudgeQuotaExhausted, match="exceeded your current quota"):
                await ask(judge)
    assert scripted.calls == 1


async def test_without_credit_at_one_base_url_the_other_is_asked() -> None:
    spent = fails(429, "no", code="insufficient_quota")
    async with (
        ScriptedJudge(always=GOOD).serving() as other,
        ScriptedJudge(always=spent).serving() as first,
    ):
        judge = endpoint_judge(first.url, base_urls=[first.url, other.url])
        await asyncio.gather(*(ask(judge) for _ in range(12)))
        tried = first.calls
        await ask(judge)
        await judge.aclose()
    assert first.calls == tried > 0
    assert other.calls == 13


@pytest.mark.parametrize(
    "step",
    [
        fails(429, "quota exceeded for requests", Retry_After="0"),
        fails(429, "quota of requests per minute"),
    ],
)
async def test_a_quota_per_minute_is_a_rate_limit(step: Step) -> None:
    async with judging(step, GOOD) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


async def test_a_refusal_that_does_not_name_a_parameter_drops_none() -> None:
    refusal = fails(400, "nothing about it: max_completion_tokens is too large")
    async with judging(always=refusal, extra_body={"n": 1}) as (judge, scripted):
        with pytest.raises(JudgeRejected):
            await ask(judge)
    assert scripted.calls == 1


CHOICE = chooses(lambda one, two: 0.75)


async def choose(judge: EndpointJudge) -> Verdict:
    transcript = transcribe(request("5", "five"), [0, 1])
    prompt = choice_prompt("You are a judge.", transcript, [1, 0])
    return await judge.ask(prompt, 64, lambda call: None, Budget(None), RequestContext())


async def test_the_logprobs_ladder_is_stepped_down_and_remembered() -> None:
    script = [
        fails(400, "top_logprobs must be at most 5"),
        fails(400, "'logprobs' is not supported with reasoning models"),
        chooses(lambda one, two: 0.75, logprobs=False),
        chooses(lambda one, two: 0.75, logprobs=False),
    ]
    async with judging(*script) as (judge, scripted):
        first, second = await choose(judge), await choose(judge)
    asked = [each.body.get("top_logprobs") for each in scripted.asked]
    assert asked == [20, 5, None, None]
    assert "logprobs" not in scripted.asked[-1].body
    assert first.scores == second.scores == [1, 0]


@pytest.mark.parametrize("alternatives", [0, 20])
async def test_alternatives_in_extra_body_that_are_refused_are_not_asked_for_without_end(
    alternatives: int,
) -> None:
    refusal = fails(400, "no logprobs here")
    body = {"top_logprobs": alternatives}
    async with judging(always=refusal, extra_body=body) as (judge, scripted):
        for _ in range(2):
            with pytest.raises(JudgeRejected):
                await choose(judge)
    asked = [each.body["top_logprobs"] for each in scripted.asked]
    assert asked == [20, 5, alternatives, alternatives]


async def test_with_five_alternatives_a_token_the_probabilities_are_still_read() -> None:
    refused = fails(422, "top_logprobs: Input should be less than or equal to 5")
    async with judging(refused, CHOICE, CHOICE) as (judge, scripted):
        first, _ = await choose(judge), await choose(judge)
    assert [each.body["top_logprobs"] for each in scripted.asked] == [20, 5, 5]
    assert all(each.body["logprobs"] is True for each in scripted.asked)
    assert first.scores == pytest.approx([0.75, 0.25])


async def test_calls_side_by_side_step_down_once() -> None:
    """Three refusals of 20 are one step, not three."""

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
    async with judging(GOOD, CHOICE) as (judge, scripted):
        await ask(judge)
        await choose(judge)
    scores_call, choice_call = (each.body for each in scripted.asked)
    assert "logprobs" not in scores_call
    assert "response_format" not in choice_call


async def test_a_400_about_logprobs_that_were_not_sent_drops_nothing() -> None:
    async with judging(fails(400, "logprobs are wrong")) as (judge, _):
        with pytest.raises(JudgeRejected):
            await ask(judge)


async def test_a_choice_that_names_no_letter_is_corrected_with_the_letters() -> None:
    async with judging(says("hm"), CHOICE) as (judge, scripted):
        await choose(judge)
    letters = list(scripted.asked[0].shown)
    said = scripted.asked[1].body["messages"][-1]["content"]
    assert "one letter and nothing else" in said
    assert all(letter in said for letter in letters)
    assert list(scripted.asked[1].shown) == letters  # a correction shows nothing new
