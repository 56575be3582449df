"""The examples of the published OpenAPI document; a test validates each by its model."""

from typing import Any

GROUP: dict[str, Any] = {
    "group_id": "step-12/prompt-7",
    "judge": "main",
    "task": "Answer in one word.",
    "reference": "Paris",
    "trajectories": [
        {
            "id": "a",
            "messages": [
                {"role": "user", "content": "What is the capital of France?"},
                {"role": "assistant", "content": "Paris"},
            ],
            "finish_reason": "stop",
        },
        {
            "id": "b",
            "messages": [
                {"role": "user", "content": "What is the capital of France?"},
                {"role": "assistant", "content": "I believe that it is Lyon."},
            ],
            "finish_reason": "stop",
        },
    ],
    "deadline_s": 60,
}

MEMBER: dict[str, Any] = {
    "group_id": "step-12/prompt-7",
    "group_size": 8,
    "judge": "main",
    "trajectory": GROUP["trajectories"][0],
    "patience_s": 600,
}

COMPARE: dict[str, Any] = {
    "conversation_history": [{"role": "user", "content": "What is the capital of France?"}],
    "response_objs": [
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]}
        for text in ("Paris", "I believe that it is Lyon.")
    ],
}

BATCH: dict[str, Any] = {"groups": [GROUP], "deadline_s": 120}

RANKING: dict[str, Any] = {
    "id": "rk_3f9c2a7e51d0",
    "group_id": "step-12/prompt-7",
    "judge": "main",
    "fallback_from": None,
    "model": "gpt-5-mini",
    "method": "listwise",
    "passes": 2,
    "results": [
        {
            "id": "a", "rank": 1.0, "reward": 0.93, "score": 0.92, "stderr": 0.04,
            "explanation": "", "flags": [],
        },
        {
            "id": "b", "rank": 2.0, "reward": 0.07, "score": 0.11, "stderr": 0.04,
            "explanation": "", "flags": [],
        },
    ],
    "basis": "judged",
    "reliability": 0.95,
    "noise": None,
    "jurors": [],
    "cached": False,
    "usage": {
        "calls": 2, "prompt_tokens": 812, "cached_tokens": 384, "completion_tokens": 64,
        "cost_usd": 0.00024,
    },
}  # fmt: skip

KEY_REQUEST: dict[str, Any] = {
    "name": "trainer-7",
    "owner": "Ada, ada@example.org",
    "scopes": ["rank", "read"],
    "requests_per_minute": 600,
    "spend_limit": {"usd": 20.0, "per": "day"},
    "expires_at": "2099-12-31T00:00:00Z",
}

KEY_CHANGE: dict[str, Any] = {"requests_per_minute": None, "spend_limit": {"usd": 50, "per": "day"}}

KEY: dict[str, Any] = {
    "id": "8f2c1d90ab34",
    **KEY_REQUEST,
    "spent_usd": 1.25,
    "reserved_usd": 0.02,
    "created_at": "2027-01-31T12:00:00Z",
    "revoked_at": None,
}

NEW_KEY: dict[str, Any] = {
    **KEY,
    "spent_usd": None,
    "reserved_usd": None,
    "key": "pk_8f2c1d90ab34_0dTq3mCk1wR8yJ5bVn7sXf2zLh9aGe4uPo6iKc1tMxQ",
}

SPEND: dict[str, Any] = {
    "by": ["key"],
    "since": "2027-01-01",
    "until": "2027-01-31",
    "rows": [
        {
            "key_id": KEY["id"], "key": KEY["name"], "owner": KEY["owner"],
            "calls": 5120, "tokens": 4718592, "cost_usd": 1.25,
        },
    ],
    "total": {"calls": 5120, "tokens": 4718592, "cost_usd": 1.25},
    "is_cut": False,
}  # fmt: skip

SPEND_CSV = """key_id,key,owner,calls,tokens,cost_usd
8f2c1d90ab34,trainer-7,"Ada, ada@example.org",5120,4718592,1.25
"""

PROBLEM: dict[str, Any] = {
    "type": "urn:podium:judge_unavailable",
    "title": "The judge does not answer",
    "status": 503,
    "detail": "main: http://judge-0:8000/v1 refuses connections",
    "code": "judge_unavailable",
    "retryable": True,
    "request_id": "8b0f6d2c91aa4e57",
    "errors": [],
}

LINE: dict[str, Any] = {
    "index": 0,
    "group_id": "step-12/prompt-7",
    "status": "failed",
    "problem": PROBLEM,
}
