"""Speak Gemini's generateContent as plain HTTP.

This was tested against a scripted server that speaks the documented form, and never against the
hosted API.

Source:
    https://ai.google.dev/api/generate-content
"""

from typing import Any

import httpx2
import orjson

from podium_service.judges.endpoint.dialects.answer_body import read_events
from podium_service.judges.endpoint.dialects.base import Address
from podium_service.judges.endpoint.dialects.plain import PlainHTTP, data_of, parts_of
from podium_service.prompts.reply import Reply, as_count, read_completion

_FINISH_REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"),
        "content_filter",
    ),
}
# Members of a chat completion's body that have another place here.
_MOVED = (
    "model", "messages", "max_completion_tokens", "max_tokens", "temperature", "seed",
    "response_format", "logprobs", "top_logprobs", "generationConfig",
)  # fmt: skip


class GeminiContent:
    """generateContent of one model at one base URL, up to and including `/v1beta`."""

    def __init__(self, address: Address, model: str, http: httpx2.AsyncClient) -> None:
        key = {"x-goog-api-key": address.api_key} if address.api_key else {}
        self._http = PlainHTTP(address, http, key)
        self._path = f"{model if model.startswith('models/') else f'models/{model}'}"

    async def complete(self, parameters: dict[str, Any]) -> bytes:
        return await self._http.post(f"{self._path}:generateContent", to_content_body(parameters))

    def parse(self, content: bytes) -> Reply:
        body, events = read_events(content)
        parts = events or body
        return read_candidate(_join_parts(parts) if isinstance(parts, list) else parts)

    async def list_models(self) -> bytes:
        return await self._http.get("models", {"pageSize": "1000"})

    def parse_models(self, content: bytes) -> list[dict[str, Any]]:
        entries = [each for each in orjson.loads(content)["models"] if isinstance(each, dict)]
        return [{**each, "id": str(each["name"]).removeprefix("models/")} for each in entries]

    async def aclose(self) -> None:
        await self._http.aclose()


def to_content_body(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a call from that of a chat completion; other members stay as they are."""
    body = {name: value for name, value in parameters.items() if name not in _MOVED}
    messages = parameters["messages"]
    system = [{"text": each["content"]} for each in messages if each["role"] == "system"]
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = [
        {
            "role": "model" if each["role"] == "assistant" else "user",
            "parts": [_to_part(part) for part in parts_of(each["content"])],
        }
        for each in messages
        if each["role"] != "system"
    ]
    return {**body, "generationConfig": _to_generation_config(parameters)}


def _to_generation_config(parameters: dict[str, Any]) -> dict[str, Any]:
    cap = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
    config: dict[str, Any] = {"maxOutputTokens": cap}
    config |= {name: parameters[name] for name in ("temperature", "seed") if name in parameters}
    response_format = parameters.get("response_format") or {}
    if response_format:
        config["responseMimeType"] = "application/json"
    if response_format.get("type") == "json_schema":
        config["responseJsonSchema"] = response_format["json_schema"]["schema"]
    if parameters.get("logprobs"):
        config |= {"responseLogprobs": True, "logprobs": parameters["top_logprobs"]}
    return {**config, **parameters.get("generationConfig", {})}


def _to_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"text": part["text"]}
    url = part["image_url"]["url"]
    if (data := data_of(url)) is None:
        return {"fileData": {"fileUri": url}}
    return {"inlineData": {"mimeType": data[0], "data": data[1]}}


def _join_parts(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one body that those of a stream add up to; it broke off if none tells its end."""
    joined: dict[str, Any] = {}
    candidate: dict[str, Any] = {"finishReason": "interrupted"}
    parts: list[Any] = []
    for body in bodies:
        joined |= body
        for each in (body.get("candidates") or ())[:1]:
            parts += (each.get("content") or {}).get("parts") or ()
            candidate |= {name: value for name, value in each.items() if value}
    return {**joined, "candidates": [{**candidate, "content": {"parts": parts}}]}


def read_candidate(body: dict[str, Any]) -> Reply:
    """Return the reply in an answer; raises as `prompts.reply.read_completion` does.

    An answer without a candidate is a refusal if it says why the prompt was blocked. The tokens of
    thoughts are counted beside those of the candidate.
    """
    usage = body.get("usageMetadata") or {}
    if blocked := (body.get("promptFeedback") or {}).get("blockReason"):
        choice = {"message": {"content": "", "refusal": str(blocked)}, "finish_reason": None}
    else:
        choice = _to_choice(body["candidates"][0])
    written = ("candidatesTokenCount", "thoughtsTokenCount")
    return read_completion(
        {
            "model": body.get("modelVersion"),
            "choices": [choice],
            "usage": {
                "prompt_tokens": usage.get("promptTokenCount"),
                "completion_tokens": sum(as_count(usage.get(name)) for name in written),
                "prompt_tokens_details": {"cached_tokens": usage.get("cachedContentTokenCount")},
            },
        }
    )


def _to_choice(candidate: dict[str, Any]) -> dict[str, Any]:
    reason = str(candidate.get("finishReason") or "")
    texts = {True: "", False: ""}
    for part in (candidate.get("content") or {}).get("parts") or ():
        texts[bool(part.get("thought"))] += str(part.get("text") or "")
    choice: dict[str, Any] = {
        "message": {"content": texts[False], "reasoning_content": texts[True]},
        "finish_reason": _FINISH_REASONS.get(reason, reason.lower()),
    }
    if logprobs := candidate.get("logprobsResult"):
        choice["logprobs"] = {"content": _to_logprobs(logprobs)}
    return choice


def _to_logprobs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return token probabilities in OpenAI's form; what the API leaves out is unknown."""
    chosen = [_to_token(each) for each in result.get("chosenCandidates") or ()]
    tops = [
        [_to_token(each) for each in top.get("candidates") or ()]
        for top in result.get("topCandidates") or ()
    ]
    if len(tops) != len(chosen):
        tops = [[] for _ in chosen]
    return [{**each, "top_logprobs": top} for each, top in zip(chosen, tops, strict=True)]


def _to_token(candidate: dict[str, Any]) -> dict[str, Any]:
    return {"token": candidate.get("token"), "logprob": candidate.get("logProbability")}
