"""Parse the body of a chat completion into a `Reply`."""

from dataclasses import dataclass
from typing import Any

import orjson

_MAX_TOKENS = 1_000_000_000  # more than any context holds, so a larger count is an error


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a call, as the endpoint counts them; `cached` is a part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """The parts of a chat completion that are used.

    Attributes:
        text: the message, or the reasoning where the message is empty.
        finish_reason: the endpoint's reason, such as `stop` or `length`.
        refusal: the model's words if it refuses to answer.
        model: the name of the model that answered.
        logprobs: one object per token of the reply, unchecked; None if the endpoint gives none.
    """

    text: str
    finish_reason: str | None
    refusal: str | None
    tokens: Tokens
    model: str
    logprobs: list[Any] | None = None


def parse_reply(content: bytes) -> Reply:
    """Parse the body of a response.

    Raises:
        ValueError | KeyError | IndexError | TypeError | AttributeError: If it is none.
    """
    body = orjson.loads(content)
    choice = body["choices"][0]
    message = choice["message"]
    usage = _as_dict(body.get("usage"))
    details = _as_dict(usage.get("prompt_tokens_details"))
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    logprobs = (choice.get("logprobs") or {}).get("content")
    prompt_tokens = _as_count(usage.get("prompt_tokens"))
    return Reply(
        text=str(message.get("content") or thoughts or ""),
        finish_reason=choice.get("finish_reason"),
        refusal=str(message["refusal"]) if message.get("refusal") else None,
        tokens=Tokens(
            prompt=prompt_tokens,
            cached=min(prompt_tokens, _as_count(details.get("cached_tokens"))),
            completion=_as_count(usage.get("completion_tokens")),
        ),
        model=str(body.get("model") or ""),
        logprobs=logprobs if isinstance(logprobs, list) else None,
    )


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_count(value: Any) -> int:
    """Return a server's number of tokens; 0 if it is missing, null or no number of tokens."""
    if isinstance(value, int | float) and 0 < value <= _MAX_TOKENS:
        return int(value)
    return 0
