"""A judge's answer -> an OpenAI chat completion, with usage and, on request, token logprobs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

BYTES_PER_TOKEN = 4
MIN_PROBABILITY = 1e-9


def chat_completion(
    request: Mapping[str, Any], content: str, probabilities: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return a whole reply; tokens are estimated at four bytes each.

    Args:
        request: the chat request it answers.
        content: the judge's words.
        probabilities: of the only token, where the judge tells them; `content` is one of its keys.
    """
    prompt_tokens = sum(_bytes(m["content"]) for m in request["messages"]) // BYTES_PER_TOKEN
    tokens = 1 if probabilities else max(1, _bytes(content) // BYTES_PER_TOKEN)
    logprobs = None
    if probabilities and request.get("logprobs"):
        top = request.get("top_logprobs") or 0
        logprobs = {"content": [_token(content, probabilities, top)], "refusal": None}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request.get("model", "simulated"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": logprobs,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": prompt_tokens + tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _token(token: str, probabilities: Mapping[str, float], top: int) -> dict[str, Any]:
    ordered = sorted(probabilities, key=lambda each: -probabilities[each])[:top]
    return {
        **_entry(token, probabilities[token]),
        "top_logprobs": [_entry(each, probabilities[each]) for each in ordered],
    }


def _entry(token: str, probability: float) -> dict[str, Any]:
    logprob = math.log(max(probability, MIN_PROBABILITY))
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _bytes(content: str | Sequence[Mapping[str, Any]]) -> int:
    if isinstance(content, str):
        return len(content) if content.isascii() else len(content.encode(errors="replace"))
    return sum(_bytes(part["text"]) for part in content)
