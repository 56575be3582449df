"""Bodies of errors as servers, routers and gateways write them are taken for what they mean.

Each line of servers.jsonl has a server, a status, a body, and what that means:

    overflow LIMIT/COUNT       the prompt is too long; the tokens that the words tell, or None
    without WHAT [to NUMBER]   the next call is made without it, or with a smaller cap
    none                       nothing that was sent is given up
    rate SECONDS, quota, refused, verdict, truncated, unavailable, rejected

The bodies are in the forms of public reports, some shortened, and none was asked for here.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from podium_service.errors import (
    JudgeQuotaExhausted,
    JudgeRateLimited,
    JudgeRefused,
    JudgeRejected,
    JudgeUnavailable,
    VerdictInvalid,
    VerdictTruncated,
)
from podium_service.judges.endpoint.errors import (
    ContextOverflow,
    ParameterRejected,
    find_failed_status,
    map_answer,
)
from podium_service.judges.endpoint.parameters import Parameters
from podium_service.judges.settings import LLMJudge

ROWS = [
    json.loads(line) for line in Path(__file__).with_name("servers.jsonl").read_text().splitlines()
]
NAMES: dict[type[Exception], str] = {
    JudgeQuotaExhausted: "quota",
    JudgeRefused: "refused",
    JudgeRejected: "rejected",
    JudgeUnavailable: "unavailable",
    VerdictInvalid: "verdict",
    VerdictTruncated: "truncated",
}
SENT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    "max_completion_tokens": 4640,
    "temperature": 0.2,
    "seed": 7,
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema"},
}


def meaning_of(status: int, body: Any) -> str:
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    if status == 200:
        status = find_failed_status(content) or 200
    error = map_answer(status, {}, content, "http://judge/v1", str)
    if isinstance(error, ContextOverflow):
        return f"overflow {error.limit_tokens}/{error.counted_tokens}"
    if isinstance(error, JudgeRateLimited):
        return f"rate {error.retry_after_s:g}" if error.retry_after_s else "rate"
    if isinstance(error, ParameterRejected):
        return given_up(error)
    return NAMES[type(error)]


def given_up(error: ParameterRejected) -> str:
    settings = {name: SENT[name] for name in ("temperature", "seed", "reasoning_effort")}
    parameters = Parameters(LLMJudge(model="m", base_urls=["http://judge/v1"], **settings))
    sent = dict(SENT)
    if "logprob" in error.words.text:
        sent |= {"logprobs": True, "top_logprobs": 20}
    what = parameters.learn(sent, error.words)
    cap = f" to {parameters.max_reply_tokens}" if parameters.max_reply_tokens else ""
    return f"without {what}{cap}" if what else "none"


@pytest.mark.parametrize("row", ROWS, ids=[row["server"] for row in ROWS])
def test_a_body_means_what_its_server_says(row: dict[str, Any]) -> None:
    assert meaning_of(row["status"], row["body"]) == row["means"]
