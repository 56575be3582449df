"""The body of a chat completion -> a `Reply`."""

from dataclasses import dataclass
from typing import Any

import orjson

_MOST_TOKENS = 1_000_000_000  # of one call: no context is as long


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the endpoint says it counted; `cached` is a part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One chat completion, as far as a judge needs it.

    `logprobs` holds an object per token of the text, as the endpoint gave it; None if it did not.
    """

    text: str
    finish_reason: str | None
    refusal: str | None
    tokens: Tokens
    model: str
    logprobs: list[Any] | None = None


def parse_reply(content: bytes) -> Reply:
    """Read one.

    Raises:
        ValueError | KeyError | IndexError | TypeError | AttributeError: If it is none.
    """
    body = orjson.loads(content)
    choice = body["choices"][0]
    message = choice["message"]
    usage = _object(body.get("usage"))
    details = _object(usage.get("prompt_tokens_details"))
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    logprobs = (choice.get("logprobs") or {}).get("content")
    prompt_tokens = _count(usage.get("prompt_tokens"))
    return Reply(
        text=str(message.get("content") or thoughts or ""),
        finish_reason=choice.get("finish_reason"),
        refusal=str(message["refusal"]) if message.get("refusal") else None,
        tokens=Tokens(
            prompt=prompt_tokens,
            cached=min(prompt_tokens, _count(details.get("cached_tokens"))),
            completion=_count(usage.get("completion_tokens")),
        ),
        model=str(body.get("model") or ""),
        logprobs=logprobs if isinstance(logprobs, list) else None,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    """Tokens, as servers give them: missing, null or nonsense counts as none."""
    if isinstance(value, int | float) and 0 < value <= _MOST_TOKENS:
        return int(value)
    return 0
