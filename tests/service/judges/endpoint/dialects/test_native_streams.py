"""Gateways that answer in a stream are read in the two providers' own forms, too."""

import json
from typing import Any

import httpx2
import pytest

from podium_service.judges.endpoint.dialects.anthropic import AnthropicMessages
from podium_service.judges.endpoint.dialects.base import Address
from podium_service.judges.endpoint.dialects.gemini import GeminiContent
from podium_service.judges.endpoint.dialects.openai_chat import OpenAIChat
from podium_service.prompts.reply import Reply

WHERE = Address("http://judge/v1")
MESSAGE: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"content": [], "stop_reason": None, "model": "m",
                                          "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
    {"type": "content_block_delta", "index": 0, "delta": {"thinking": "B"}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 1, "delta": {"text": "Answer: "}},
    {"type": "content_block_delta", "index": 1, "delta": {"text": "K"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
]  # fmt: skip
PARTS: list[dict[str, Any]] = [
    {"candidates": [{"content": {"parts": [{"text": "B", "thought": True}]}}]},
    {"candidates": [{"content": {"parts": [{"text": "Answer: "}]}}], "modelVersion": "m"},
    {"candidates": [{"content": {"parts": [{"text": "K"}]}, "finishReason": "STOP"}],
     "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5}},
]  # fmt: skip


def stream_of(events: list[dict[str, Any]]) -> bytes:
    return "".join(f"event: x\r\ndata: {json.dumps(each)}\r\n\r\n" for each in events).encode()


def anthropic(content: bytes) -> Reply:
    return AnthropicMessages(WHERE, "m", httpx2.AsyncClient()).parse(content)


def gemini(content: bytes) -> Reply:
    return GeminiContent(WHERE, "m", httpx2.AsyncClient()).parse(content)


@pytest.mark.parametrize(
    "reply",
    [
        anthropic(stream_of(MESSAGE)),
        gemini(stream_of(PARTS)),
        gemini(json.dumps(PARTS).encode()),
        gemini(b"\xef\xbb\xbf" + json.dumps(PARTS).encode()),
    ],
)
def test_the_parts_of_a_stream_are_one_reply(reply: Reply) -> None:
    assert (reply.text, reply.thoughts, reply.model) == ("Answer: K", "B", "m")
    assert (reply.tokens.prompt, reply.tokens.completion) == (9, 5)
    assert reply.answer[1] == "anywhere"


def test_a_stream_without_an_end_is_no_reply() -> None:
    with pytest.raises(ValueError, match="broke off"):
        anthropic(stream_of(MESSAGE[:-1]))
    with pytest.raises(ValueError, match="broke off"):
        gemini(stream_of(PARTS[:-1]))


@pytest.mark.parametrize("body", [[{"id": "m"}], {"data": [{"id": "m"}]}])
def test_a_list_of_models_may_stand_alone(body: Any) -> None:
    chat = OpenAIChat(WHERE, "m", httpx2.AsyncClient())
    assert chat.parse_models(json.dumps(body).encode()) == [{"id": "m"}]
    assert chat.parse_models(b'{"object": "list", "data": null}') == []
