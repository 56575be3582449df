"""The examples of what the store keeps; a test validates each by its model."""

from typing import Any

from podium_service.http.openapi.examples import GROUP, RANKING

SUMMARY: dict[str, Any] = {
    "id": RANKING["id"],
    "ask": "330b9fb40acb732b",
    "at": 1796000545.069,
    "outcome": "ranked",
    "code": None,
    "detail": None,
    "run": "demo",
    "step": 12,
    "group_id": "step-12/prompt-7",
    "prompt_id": "9c56cc51b374c3ba",
    "judge": "main",
    "model": "gpt-5-mini",
    "method": "listwise",
    "passes": 2,
    "reliability": 0.95,
    "cached": False,
    "num_trajectories": 2,
    "ids": ["a", "b"],
    "rewards": [0.93, 0.07],
    "flags": None,
    "lengths": [5, 27],
    "truncated": 0,
    "latency_s": 1.8,
    "cost_usd": 0.00024,
    "tokens": 876,
    "api_key_id": None,
    "prompt": "Answer in one word.",
}

RANKING_PAGE: dict[str, Any] = {"rankings": [SUMMARY], "next": None}

RANKING_DETAIL: dict[str, Any] = {
    "summary": SUMMARY,
    "ranking": RANKING,
    "problem": None,
    "request": {name: value for name, value in GROUP.items() if name != "deadline_s"},
    "request_id": "8b0f6d2c91aa4e57",
    "metadata": {"run": "demo", "step": 12},
}

CALL_LIST: dict[str, Any] = {
    "calls": [
        {
            "pass_index": 0,
            "at": 1796000544.9,
            "judge": "main",
            "model": "gpt-5-mini",
            "messages": [{"role": "user", "content": "2 trajectories follow, each fenced. ..."}],
            "reply": '{"K7X": {"score": 0.9}, "B2M": {"score": 0.1}}',
            "finish_reason": "stop",
            "order": ["b", "a"],
            "shown_ids": {"B2M": "b", "K7X": "a"},
            "scores": {"b": 0.1, "a": 0.9},
            "explanations": {},
            "fault": None,
            "usage": {
                "calls": 1, "prompt_tokens": 406, "cached_tokens": 192, "completion_tokens": 32,
                "cost_usd": 0.00012,
            },
            "latency_s": 0.9,
        }
    ]
}  # fmt: skip

RUN: dict[str, Any] = {
    "run": "demo",
    "first_at": 1795999000.0,
    "last_at": 1796000545.069,
    "last_step": 12,
    "groups": 104,
    "failed": 1,
    "cost_usd": 0.025,
    "tokens": 91104,
}

RUN_PAGE: dict[str, Any] = {"runs": [RUN], "next": None}

RUN_DETAIL: dict[str, Any] = {
    "summary": RUN,
    "steps": [
        {
            "step": 12,
            "at": 1796000545.069,
            "groups": 8,
            "ranked": 7,
            "failed": 1,
            "failures": {"judge_unavailable": 1},
            "cached": 0,
            "reliability": 0.81,
            "with_signal": 1.0,
            "ties": 0.05,
            "flagged": 0.0,
            "truncated": 0.125,
            "mean_score": 0.44,
            "mean_length": 812.5,
            "latency_s": 2.1,
            "cost_usd": 0.0019,
            "tokens": 7008,
        }
    ],
}
