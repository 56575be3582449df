"""A completion is read from what servers send in place of plain JSON."""

import json
from typing import Any

import pytest

from podium_service.errors import JudgeRateLimited
from podium_service.judges.endpoint.dialects.answer_body import read_body
from podium_service.prompts.reply import read_completion
from tests.fakes import Answer, Asked, Step
from tests.service.judges.builders import GOOD, ask, open_judge

pytestmark = pytest.mark.anyio

EVENTS = {"content-type": "text/event-stream"}


def completion_of(asked: Asked) -> dict[str, Any]:
    body = GOOD(asked).body
    assert isinstance(body, dict)
    return body


def stream_of(body: dict[str, Any], newline: str = "\n") -> str:
    """Return a completion as the events of a stream, a few characters each."""
    text, usage = body["choices"][0]["message"]["content"], body["usage"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text[at : at + 9]} for at in range(0, len(text), 9)]
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": delta}]} for delta in deltas]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None}]
    chunks += [{"choices": [], "usage": usage}]
    lines = [": PROCESSING", *(f"data: {json.dumps(chunk)}" for chunk in chunks), "data: [DONE]"]
    return "".join(f"{line}{newline * 2}" for line in lines)


def changed(old: str, new: str) -> Step:
    return lambda asked: Answer(json.dumps(completion_of(asked)).replace(old, new))


def encoded(prefix: bytes) -> Step:
    return lambda asked: Answer(prefix + json.dumps(completion_of(asked)).encode())


def text_choice(asked: Asked) -> Answer:
    body = completion_of(asked)
    choice = {"text": body["choices"][0]["message"]["content"], "finish_reason": "stop"}
    return Answer({**body, "choices": [choice]})


def tool_call(asked: Asked) -> Answer:
    body = completion_of(asked)
    message = body["choices"][0]["message"]
    function = {"name": "json_tool_call", "arguments": message.pop("content")}
    message["tool_calls"] = [{"id": "1", "type": "function", "function": function}]
    body["choices"][0]["finish_reason"] = "tool_calls"
    return Answer(body)


def object_content(asked: Asked) -> Answer:
    body = completion_of(asked)
    message = body["choices"][0]["message"]
    message["content"] = json.loads(message["content"])
    return Answer(body)


FORMS: dict[str, Step] = {
    "a stream": lambda asked: Answer(stream_of(completion_of(asked)), headers=EVENTS),
    "a stream with CRLF": lambda asked: Answer(stream_of(completion_of(asked), "\r\n")),
    "a byte order mark": encoded(b"\xef\xbb\xbf"),
    "blank lines first": encoded(b"\n\n  \n"),
    "NaN": changed('"finish_reason"', '"logprobs": {"content": [NaN, -Infinity]}, "finish_reason"'),
    "half a character": changed('"finish_reason"', '"system": "\\ud83d", "finish_reason"'),
    "a text": text_choice,
    "an object as the content": object_content,
    "a tool call": tool_call,
    "a delta outside a stream": changed('"message"', '"delta"'),
    "logprobs that are a text": changed('"finish_reason"', '"logprobs": "none", "finish_reason"'),
    "an object around it": lambda asked: Answer({"code": 0, "data": completion_of(asked)}),
    "comments first": encoded(b": PROCESSING\n\n"),
    "a long header": lambda asked: Answer(completion_of(asked), headers={"policy": "x" * 20_000}),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_verdict_is_read_in_every_form(form: str) -> None:
    async with open_judge(FORMS[form]) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 1


async def test_an_error_in_a_stream_is_that_error() -> None:
    lines = ['data: {"choices": [{"delta": {"content": "{"}}]}',
             'data: {"error": {"message": "slow down", "code": 429}}', ""]  # fmt: skip
    body = "\n\n".join(lines)
    async with open_judge(lambda asked: Answer(body), attempts=1) as (judge, _):
        with pytest.raises(JudgeRateLimited, match="slow down"):
            await ask(judge)


@pytest.mark.parametrize("end", ["", "data: error: the upstream died"])
async def test_a_stream_that_breaks_off_is_asked_for_again(end: str) -> None:
    def broken(asked: Asked) -> Answer:
        events = stream_of(completion_of(asked))
        return Answer(events[: events.index('data: {"choices": [{"delta": {}, ')] + end)

    async with open_judge(broken, GOOD, attempts=2) as (judge, scripted):
        await ask(judge)
    assert scripted.calls == 2


def test_parts_thoughts_and_logprobs_of_a_stream_are_joined() -> None:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "reasoning_content": "B, "}, {"reasoning_content": "no"},
        {"content": [{"type": "thinking", "thinking": "B"}]}, {"content": "K"}, {"content": None},
    ]  # fmt: skip
    choices = [{"delta": each, "logprobs": {"content": [index]}, "finish_reason": None}
               for index, each in enumerate(deltas)]  # fmt: skip
    events = [f"data:{json.dumps({'choices': [each], 'model': 'm'})}" for each in choices]
    events.append("data: [DONE]")
    reply = read_completion(read_body("\n\n".join(events).encode()))
    assert (reply.text, reply.thoughts, reply.model) == ("K", "B, no", "m")
    assert (reply.logprobs, reply.finish_reason) == ([0, 1, 2, 3, 4], None)


@pytest.mark.parametrize("logprobs", [-0.25, [], {"tokens": ["K"], "token_logprobs": [-0.25]}])
def test_a_stream_may_list_its_tokens_otherwise(logprobs: Any) -> None:
    choice = {"delta": {"content": "K"}, "logprobs": logprobs, "finish_reason": "stop"}
    reply = read_completion(read_body(f"data: {json.dumps({'choices': [choice]})}".encode()))
    assert reply.text == "K"
    known = [{"token": "K", "logprob": -0.25, "top_logprobs": []}]
    assert reply.logprobs == (known if isinstance(logprobs, dict) else [])


@pytest.mark.parametrize("content", [b"", b"<html>", b"[" * 100_000, b"data: {x}", b"\xff\xfe"])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_body(content)
