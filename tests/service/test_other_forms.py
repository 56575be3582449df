"""Messages of other APIs, sent to POST /rank as they are, say what they say in OpenAI's form."""

from typing import Any

import pytest
from pydantic import ValidationError

from podium_service.schemas import Message, RankRequest

ASKS = {"role": "user", "content": "6 x 7?"}


def said(text: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def calls(**call: Any) -> dict[str, Any]:
    return said(None, tool_calls=[call])


def result(text: Any) -> dict[str, Any]:
    return {"role": "tool", "content": text}


def read(messages: Any) -> list[Message]:
    request = RankRequest.model_validate({"trajectories": [{"id": "a", "messages": messages}]})
    return request.trajectories[0].messages


CALLED = calls(function={"name": "mul", "arguments": {"a": 6}})
FORMS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "Anthropic's tools": (
        [said([{"type": "tool_use", "id": "t", "name": "mul", "input": {"a": 6}}]),
         {"role": "user",
          "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}]}],
        [CALLED, result("42")],
    ),
    "items of the Responses API": (
        [{"type": "function_call", "call_id": "c", "name": "mul", "arguments": {"a": 6}},
         {"type": "function_call_output", "call_id": "c", "output": "42"}],
        [CALLED, result("42")],
    ),
    "Gemini's contents": (
        [{"role": "model", "parts": [{"functionCall": {"name": "mul", "args": {"a": 6}}}]},
         {"role": "model", "parts": [{"text": "42"}]}],
        [CALLED, said("42")],
    ),
    "parts of Vercel's AI SDK": (
        [{"role": "assistant", "parts": [{"type": "text", "text": "42"}]}], [said("42")],
    ),
    "blocks of LlamaIndex": (
        [{"role": "assistant", "blocks": [{"block_type": "text", "text": "42"}]}], [said("42")],
    ),
    "a text of the Assistants API": (
        [said([{"type": "text", "text": {"value": "42", "annotations": []}}])], [said("42")],
    ),
    "what was spoken": ([said(None, audio={"transcript": "42"})], [said("42")]),
    "names of roles": (
        [{"role": "AI", "content": "x"}, {"role": "ipython", "content": "42"},
         {"role": "environment", "content": "y"}],
        [said("x"), result("42"), {"role": "user", "content": "y"}],
    ),
    "roles of calls and results": (
        [{"role": "tool_call", "content": '{"name": "mul", "arguments": {"a": 6}}'},
         {"role": "observation", "content": "42"}],
        [CALLED, result("42")],
    ),
    "a role of calls without one": ([{"role": "tool-call", "content": "mul"}], [said("mul")]),
    "other names of roles": (
        [{"role": "latest_reminder", "content": "x"}, {"role": "CHATBOT", "message": "y"}],
        [{"role": "system", "content": "x"}, said("y")],
    ),
    "Bedrock's tools": (
        [said([{"toolUse": {"toolUseId": "t", "name": "mul", "input": {"a": 6}}}]),
         {"role": "user", "content": [
             {"toolResult": {"toolUseId": "t", "content": [{"text": "42"}], "status": "ok"}}]}],
        [CALLED, result("42")],
    ),
    "Haystack's tools": (
        [said([{"tool_call": {"tool_name": "mul", "arguments": {"a": 6}, "id": "t"}}]),
         {"role": "tool", "content": [
             {"tool_call_result": {"result": "42", "origin": {"tool_name": "mul", "id": "t"}}}]}],
        [CALLED, result("42")],
    ),
    "tools of Vercel's AI SDK": (
        [said([{"type": "tool-call", "toolCallId": "t", "toolName": "mul", "input": {"a": 6}}]),
         {"role": "tool", "content": [
             {"type": "tool-result", "toolCallId": "t", "toolName": "mul",
              "output": {"type": "text", "value": "42"}}]}],
        [CALLED, result("42")],
    ),
    "tools before version 5 of it": (
        [said([{"type": "tool-call", "toolCallId": "t", "toolName": "mul", "args": {"a": 6}}]),
         {"role": "tool", "content": [
             {"type": "tool-result", "toolCallId": "t", "toolName": "mul", "result": "42"}]}],
        [CALLED, result("42")],
    ),
    "tools in its messages of pages": (
        [{"role": "assistant", "parts": [
            {"type": "step-start"},
            {"type": "tool-mul", "toolCallId": "t", "state": "output-available",
             "input": {"a": 6}, "output": "42"}]}],
        [CALLED, result("42")],
    ),
    "Pydantic AI": (
        [{"kind": "response", "parts": [
            {"part_kind": "tool-call", "tool_name": "mul", "args": {"a": 6}, "tool_call_id": "t"}]},
         {"kind": "request", "parts": [
             {"part_kind": "tool-return", "tool_name": "mul", "content": "42",
              "tool_call_id": "t"}]},
         {"kind": "response", "parts": [{"part_kind": "text", "content": "It is 42."}]}],
        [CALLED, result("42"), said("It is 42.")],
    ),
    "instructions of Pydantic AI, once": (
        [{"kind": "request", "instructions": "Be brief.",
          "parts": [{"part_kind": "user-prompt", "content": ["a", {"kind": "cache-point"}, "b"]}]},
         {"kind": "request", "instructions": "Be brief.",
          "parts": [{"part_kind": "user-prompt", "content": ["c", "d"]}]}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ab"},
         {"role": "user", "content": "c\nd"}],
    ),
    "AutoGen": (
        [{"source": "a", "type": "ToolCallRequestEvent",
          "content": [{"id": "t", "name": "mul", "arguments": {"a": 6}}]},
         {"source": "a", "type": "ToolCallExecutionEvent",
          "content": [{"call_id": "t", "name": "mul", "content": "42"}]},
         {"source": "a", "type": "TextMessage", "content": "It is 42."}],
        [CALLED, result("42"), said("It is 42.")],
    ),
    "steps of ATIF": (
        [{"step_id": 1, "source": "agent", "message": "",
          "tool_calls": [{"tool_call_id": "t", "function_name": "mul", "arguments": {"a": 6}}],
          "observation": {"results": [{"source_call_id": "t", "content": "42"}]}}],
        [said("", tool_calls=CALLED["tool_calls"]), result("42")],
    ),
    "an event of Google's ADK": (
        [{"author": "a", "content": {"role": "model", "parts": [{"text": "42"}]}}], [said("42")],
    ),
    "Harmony of gpt-oss": (
        [{"role": "assistant", "channel": "analysis", "content": "hm"},
         {"role": "assistant", "channel": "commentary", "recipient": "functions.mul",
          "content": '{"a": 6}'},
         {"role": "assistant", "channel": "final", "content": "42"}],
        [said(None, reasoning_content="hm"),
         calls(function={"name": "mul", "arguments": '{"a": 6}'}), said("42")],
    ),
    "Inspect's call": (
        [calls(id="t", type="function", function="mul", arguments={"a": 6})], [CALLED],
    ),
    "items of Semantic Kernel": (
        [{"role": "assistant", "items": [{"content_type": "text", "text": "42"}]}], [said("42")],
    ),
    "tools of Semantic Kernel": (
        [{"role": "assistant", "items": [
            {"content_type": "text", "text": "so"},
            {"content_type": "function_call", "id": "t", "name": "mul", "arguments": {"a": 6}}]},
         {"role": "tool", "items": [
             {"content_type": "function_result", "id": "t", "name": "mul", "result": "42"},
             {"content_type": "function_result", "id": "u", "name": "f", "result": {"x": 1}}]}],
        [said("so", tool_calls=CALLED["tool_calls"]), result("42"), result('{"x": 1}')],
    ),
    "calls that are an empty text": ([said("42", tool_calls="")], [said("42")]),
    "an empty list of calls as text": ([said("42", tool_calls="[]")], [said("42")]),
    "null among calls": ([calls(**CALLED["tool_calls"][0]) | {
        "tool_calls": [None, *CALLED["tool_calls"]]}], [CALLED]),
    "a document of Cohere": (
        [result([{"type": "document", "document": {"data": "42"}}])], [result("42")],
    ),
    "a document of Anthropic": (
        [said([{"type": "document", "source": {"type": "text", "data": "42"}}])], [said("42")],
    ),
    "a resource of MCP": (
        [result([{"type": "resource", "resource": {"uri": "file:///a", "text": "42"}}])],
        [result("42")],
    ),
    "a reference of Mistral": (
        [said([{"type": "text", "text": "42"}, {"type": "reference", "reference_ids": [0]}])],
        [said("42")],
    ),
    "an image that is only announced": (
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}],
        [{"role": "user", "content": "(an image that was not sent)?"}],
    ),
    "a custom tool": (
        [calls(id="c", type="custom", custom={"name": "run", "input": "print(1)"})],
        [calls(function={"name": "run", "arguments": "print(1)"})],
    ),
    "a built-in function": (
        [calls(type="builtin_function", function={"name": "mul", "arguments": {"a": 6}})], [CALLED],
    ),
    "LangChain's call": ([calls(type="tool_call", name="mul", args={"a": 6})], [CALLED]),
    "Llama's call": ([calls(function={"name": "mul", "parameters": {"a": 6}})], [CALLED]),
    "one call without a list": ([said(None, tool_calls=CALLED["tool_calls"][0])], [CALLED]),
    "an argument that is a number": (
        [calls(function={"name": "mul", "arguments": 7})],
        [calls(function={"name": "mul", "arguments": "7"})],
    ),
    "a result that is data": ([result({"sum": 42})], [result('{"sum": 42}')]),
    "a result that is a list of data": ([result([{"sum": 42}])], [result('{"sum": 42}')]),
    "a result that is a number": ([result(42)], [result("42")]),
    "a part alone": ([said({"type": "text", "text": "42"})], [said("42")]),
    "parts from Parquet": ([said([None, {"type": None, "text": "42"}])], [said("42")]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_other_forms_say_the_same_as_openais(name: str) -> None:
    sent, same = FORMS[name]
    assert list(map(summary, read([ASKS, *sent]))) == list(map(summary, read([ASKS, *same])))


def summary(message: Message) -> tuple[Any, ...]:
    called = [(each.called.name, each.called.arguments) for each in message.calls]
    return message.role, message.text, called


def test_thoughts_of_ollama_and_bedrock_are_thoughts() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
    for message in (said("42", thinking="hm"), said([thought, {"text": "42"}])):
        [read_message] = read([message])
        assert (read_message.text, read_message.thoughts) == ("42", "hm")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0K"},
        {"type": "media", "mime_type": "image/png", "data": "iVBORw0K"},
        {"image": {"format": "png", "source": {"bytes": "iVBORw0K"}}},
        {"type": "image", "image": {"bytes": "iVBORw0K", "path": None}},
    ],
)
def test_a_file_that_is_an_image_is_shown(part: dict[str, Any]) -> None:
    [message] = read([said([part])])
    assert [image.url for image in message.images] == ["data:image/png;base64,iVBORw0K"]


BYTES, URL = {"kind": "binary", "media_type": "image/png"}, "data:image/png;base64,iVBORw0K"


def request(*content: Any, kind: str = "user-prompt") -> dict[str, Any]:
    return {"kind": "request", "parts": [{"part_kind": kind, "content": list(content)}]}


@pytest.mark.parametrize(
    ("message", "url"),
    [
        (request("look", {"kind": "image-url", "url": "https://a/b.png"}), "https://a/b.png"),
        (request("look", BYTES | {"data": "iVBORw0K"}), URL),
        (request("look", BYTES | {"data": "iVBORw0K"}, kind="tool-return"), URL),
        ({"kind": "response", "parts": [
            {"part_kind": "text", "content": "look"},
            {"part_kind": "file", "content": BYTES | {"data": "iVBORw0K"}}]}, URL),
        ({"source": "user", "type": "MultiModalMessage", "content": ["look", {"data": "iVBORw0K"}]},
         URL),
    ],
)  # fmt: skip
def test_images_of_agents_are_shown_as_images(message: dict[str, Any], url: str) -> None:
    [_, shown] = read([ASKS, message])
    assert (shown.text, [image.url for image in shown.images]) == ("look", [url])


def test_images_of_ollama_are_not_lost() -> None:
    [message] = read([{"role": "user", "content": "What is it?", "images": ["iVBORw0K"]}])
    assert (message.text, len(message.images)) == ("What is it?", 1)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "critic", "content": "x"},
        said([{"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}]),
        said([{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}]),
        said([{"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}]),
        said("x", tool_calls='[{"function": {"name": "f"}}]'),
        said("x", tool_calls=['{"function": {"name": "f"}}']),
        said([{"type": "video_url", "video_url": {"url": "https://a/b"}}]),
        request("look", {"kind": "audio-url", "url": "https://a/b.mp3"}),
        request({"kind": "binary", "media_type": "application/pdf", "data": "JVBERi0="}),
    ],
)
def test_what_is_in_no_form_is_refused_where_it_stands(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        read([ASKS, message])
    assert caught.value.errors()[0]["loc"][:4] == ("trajectories", 0, "messages", 1)
