"""What frameworks of agents store of a conversation says what it says in OpenAI's form."""

from typing import Any

import pytest

from podium.formats import read_rows
from tests.service.test_other_forms import ASKS, CALLED, read, result, said, summary

MADE = {"id": "t", "name": "mul", "args": {"a": 6}}
USED = {"type": "server_tool_use", "id": "t", "name": "mul", "input": {"a": 6}}
HUMAN = {"type": "human", "content": "6 x 7?"}


def page(*parts: Any) -> list[dict[str, Any]]:
    return [ASKS, {"role": "assistant", "parts": list(parts)}]


def hosted(*results: Any, said: str = "42") -> list[dict[str, Any]]:
    return [
        ASKS,
        {"role": "assistant", "content": [USED, *results, {"type": "text", "text": said}]},
    ]


def printed(kind: str, **fields: Any) -> dict[str, Any]:
    content = {"type": kind, **fields}
    return {"type": "mul_tool_result", "tool_use_id": "t", "content": content}


INVOKED = {
    "state": "result",
    "toolCallId": "t",
    "toolName": "mul",
    "args": {"a": 6},
    "result": "ok",
}
SHOWN = [ASKS, CALLED, result("ok"), said("42")]
PRINTED = [ASKS, CALLED, result("ok\n"), said("42")]
FORMS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "texts for parts (Gemini's older SDK)": (
        [{"role": "user", "parts": ["6 x 7?"]}, {"role": "model", "parts": "42"}],
        [ASKS, said("42")],
    ),
    "texts under other names": (
        [{"role": "user", "text": "6 x 7?"}, {"role": "ai", "value": "42", "text": None}],
        [ASKS, said("42")],
    ),
    "members of an enumeration": (
        [{"role": "MessageRole.USER", "content": "6 x 7?"},
         {"role": "MessageRole.ASSISTANT", "content": "42"}],
        [ASKS, said("42")],
    ),
    "a page of Vercel's AI SDK with steps": (
        page({"type": "step-start"}, {"type": "tool-mul", "toolCallId": "t", "input": {"a": 6},
                                      "output": "ok"},
             {"type": "step-start"}, {"type": "text", "text": "42"}), SHOWN,
    ),
    "a page of its version 4": (
        page({"type": "tool-invocation", "toolInvocation": INVOKED},
             {"type": "text", "text": "42"}), SHOWN,
    ),
    "a call that a person denied": (
        [ASKS, CALLED, {"role": "tool", "content": [
            {"type": "tool-result", "toolCallId": "t", "toolName": "mul",
             "output": {"type": "execution-denied", "reason": "ok"}}]}, said("42")], SHOWN,
    ),
    "what Anthropic's tools print": (hosted(printed("mul_result", stdout="ok")), PRINTED),
    "their errors": (hosted(printed("mul_result", stderr="ok", return_code=1)), PRINTED),
    "their failures": (hosted(printed("mul_tool_result_error", error_code="ok")), PRINTED),
    "what they view": (hosted(printed("mul_view_result", content="ok")), PRINTED),
    "what they fetch": (
        hosted(printed("web_fetch_result", content={
            "type": "document", "source": {"type": "text", "data": "ok"}})), PRINTED,
    ),
    "what Anthropic's API keeps of old turns": (
        [ASKS, said([{"type": "compaction", "content": "4"}, {"type": "text", "text": "2"}])],
        [ASKS, said("42")],
    ),
    "LangChain, with blocks of the Responses API": (
        [HUMAN,
         {"type": "ai", "content": [{"type": "function_call", "name": "mul", "arguments": "{}"}],
          "tool_calls": [MADE]},
         {"type": "tool", "content": "ok", "tool_call_id": "t"}, {"type": "ai", "content": "42"}],
        SHOWN,
    ),
    "LangChain, with hosted tools": (
        [HUMAN, {"type": "ai", "content": [
            {"type": "server_tool_call", **MADE},
            {"type": "server_tool_result", "tool_call_id": "t", "output": "ok"},
            {"type": "text", "text": "42"}]}], SHOWN,
    ),
    "LangGraph, with a message taken out": (
        [HUMAN, {"type": "remove", "id": "x", "content": ""}, {"type": "ai", "content": "42"}],
        [ASKS, said("42")],
    ),
    "messages of AutoGen's core": (
        [{"type": "SystemMessage", "content": "s"},
         {"type": "UserMessage", "source": "user", "content": "6 x 7?"},
         {"type": "AssistantMessage", "source": "a",
          "content": [{"id": "t", "name": "mul", "arguments": {"a": 6}}]},
         {"type": "FunctionExecutionResultMessage",
          "content": [{"call_id": "t", "name": "mul", "content": "ok"}]},
         {"type": "StructuredMessage[Answer]", "source": "a", "content": {"x": 42}}],
        [{"role": "system", "content": "s"}, *SHOWN[:3], said('{"x": 42}')],
    ),
    "a call among the blocks of LlamaIndex": (
        [ASKS, {"role": "assistant", "blocks": [
            {"block_type": "tool_call", "tool_call_id": "t", "tool_name": "mul",
             "tool_kwargs": {"a": 6}}]}, result("ok"), said("42")], SHOWN,
    ),
    "a call beside the content of LlamaIndex": (
        [ASKS, said("", additional_kwargs={"tool_calls": CALLED["tool_calls"]}),
         {"role": "tool", "content": "ok", "additional_kwargs": {"tool_call_id": "t"}},
         said("42")], SHOWN,
    ),
    "calls of the user in tau2-bench": (
        [ASKS, {"role": "user", "content": None, "tool_calls": [
            {"id": "t", "name": "mul", "arguments": {"a": 6}, "requestor": "user"}]}, said("42")],
        [ASKS, {"role": "user", "content": '[{"name": "mul", "arguments": {"a": 6}}]'}, said("42")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_stored_forms_say_the_same_as_openais(name: str) -> None:
    sent, same = FORMS[name]
    assert list(map(summary, read(sent))) == list(map(summary, read(same)))


def test_an_image_among_gemini_s_parts_is_an_image() -> None:
    file = {"fileData": {"mimeType": "image/png", "fileUri": "https://a.test/b.png"}}
    [message] = read([{"role": "user", "parts": [file, {"text": "?"}]}])
    assert [image.url for image in message.images] == ["https://a.test/b.png"]


def test_calls_as_texts_in_a_file_are_calls() -> None:
    call = '{"id": "t", "function": {"name": "mul", "arguments": {"a": 6}}}'
    [group] = read_rows([{"messages": [ASKS, said("", tool_calls=[call])]}]).groups
    assert summary(read(group["trajectories"][0]["messages"])[1]) == summary(read([CALLED])[0])
