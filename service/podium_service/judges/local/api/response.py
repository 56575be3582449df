"""Write the body of a chat completion."""

import secrets
import time
from typing import Any

from podium_service.judges.local.generation.generator import Generated, Token, TokenLogprob


def chat_completion(model_id: str, reply: Generated, prompt_tokens: int, *, logprobs: bool) -> Any:
    """Return the body of a response."""
    content = {"content": [_token(each) for each in reply.tokens], "refusal": None}
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_id,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text, "refusal": None},
                "logprobs": content if logprobs else None,
                "finish_reason": reply.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": reply.num_tokens,
            "total_tokens": prompt_tokens + reply.num_tokens,
            "prompt_tokens_details": {"cached_tokens": reply.reused_tokens},
        },
    }


def _token(token: Token) -> dict[str, Any]:
    tops = [_logprob(each) for each in token.alternatives]
    return {**_logprob(token.chosen), "token": token.text, "top_logprobs": tops}


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    """Return a token as text and as bytes, because it may hold a part of a character."""
    return {
        "token": token.piece.decode(errors="replace"),
        "logprob": token.logprob,
        "bytes": list(token.piece),
    }
