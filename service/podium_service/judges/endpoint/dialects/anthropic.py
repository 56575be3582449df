"""Speak Anthropic's Messages API as plain HTTP.

The system message is marked for the prompt cache, because it is the same in every call. No response
format is asked for: verdicts are validated anyway. This was tested against a scripted server that
speaks the documented form, and never against the hosted API.

Source:
    https://docs.anthropic.com/en/api/messages
"""

from typing import Any

import httpx2
import orjson

from podium_service.judges.endpoint.dialects.answer_body import read_events
from podium_service.judges.endpoint.dialects.base import Address
from podium_service.judges.endpoint.dialects.plain import PlainHTTP, data_of, parts_of
from podium_service.prompts.reply import Reply, as_count, read_completion

VERSION = "2023-06-01"
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
# What OpenAI's API has and this one has not.
_UNKNOWN = ("max_completion_tokens", "response_format", "logprobs", "top_logprobs", "seed")


class AnthropicMessages:
    """Messages at one base URL, up to and including `/v1`."""

    def __init__(self, address: Address, model: str, http: httpx2.AsyncClient) -> None:
        key = {"x-api-key": address.api_key} if address.api_key else {}
        self._http = PlainHTTP(address, http, {**key, "anthropic-version": VERSION})

    async def complete(self, parameters: dict[str, Any]) -> bytes:
        return await self._http.post("messages", to_messages_body(parameters))

    def parse(self, content: bytes) -> Reply:
        body, events = read_events(content)
        return read_message(_join_events(events) if events else body)

    async def list_models(self) -> bytes:
        return await self._http.get("models", {"limit": "1000"})

    def parse_models(self, content: bytes) -> list[dict[str, Any]]:
        return [entry for entry in orjson.loads(content)["data"] if isinstance(entry, dict)]

    async def aclose(self) -> None:
        await self._http.aclose()


def to_messages_body(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a call from that of a chat completion; other members stay as they are."""
    body = {name: value for name, value in parameters.items() if name not in _UNKNOWN}
    body.setdefault("max_tokens", parameters.get("max_completion_tokens"))
    system = [each["content"] for each in parameters["messages"] if each["role"] == "system"]
    if system:
        text = {"type": "text", "text": "\n\n".join(system)}
        body["system"] = [{**text, "cache_control": {"type": "ephemeral"}}]
    body["messages"] = [
        {"role": each["role"], "content": [_to_block(part) for part in parts_of(each["content"])]}
        for each in parameters["messages"]
        if each["role"] != "system"
    ]
    return body


def _to_block(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    url = part["image_url"]["url"]
    if (data := data_of(url)) is None:
        return {"type": "image", "source": {"type": "url", "url": url}}
    source = {"type": "base64", "media_type": data[0], "data": data[1]}
    return {"type": "image", "source": source}


def _join_events(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message of a stream, or the event that tells of an error.

    A stream without a reason for its end broke off.
    """
    message: dict[str, Any] = {}
    blocks: dict[Any, dict[str, Any]] = {}
    for event in events:
        if event.get("type") == "error":
            return event
        if event.get("type") == "message_start":
            message = event["message"]
        elif event.get("type") == "content_block_start":
            blocks[event["index"]] = event["content_block"]
        elif event.get("type") == "content_block_delta":
            block = blocks[event["index"]]
            for name in ("text", "thinking"):
                block[name] = (block.get(name) or "") + (event["delta"].get(name) or "")
        elif event.get("type") == "message_delta":
            usage = {**(message.get("usage") or {}), **(event.get("usage") or {})}
            message |= {**event["delta"], "usage": usage}
    reason = message.get("stop_reason") or "interrupted"
    return {**message, "content": list(blocks.values()), "stop_reason": reason}


def read_message(body: dict[str, Any]) -> Reply:
    """Return the reply in an answer; raises as `prompts.reply.read_completion` does.

    What was read from the cache and what was written to it are counted beside `input_tokens`.
    """
    content, usage = body["content"], body.get("usage") or {}
    reason = str(body.get("stop_reason"))
    thoughts = "".join(part.get("thinking") or "" for part in content if isinstance(part, dict))
    message = {"content": content, "reasoning_content": thoughts}
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    choice = {"message": message, "finish_reason": _FINISH_REASONS.get(reason, reason)}
    return read_completion(
        {
            "model": body.get("model"),
            "choices": [choice],
            "usage": {
                "prompt_tokens": sum(as_count(usage.get(name)) for name in counts),
                "completion_tokens": usage.get("output_tokens"),
                "prompt_tokens_details": {"cached_tokens": usage.get("cache_read_input_tokens")},
            },
        }
    )
