"""What makes two questions the same: content keys, and the names of answers and of judges."""

from hashlib import sha256
from typing import Any

import orjson

from podium_service.judges.settings import ChecksJudge, LLMJudge
from podium_service.prompts import templates
from podium_service.prompts.transcript import Transcript
from podium_service.schemas import RankRequest

_SAMPLING = {
    "model", "temperature", "seed", "reasoning_effort", "extra_body", "max_tokens",
    "response_format", "context_tokens",
}  # fmt: skip
_SHOWN = {"view", "canary", "block_size"}
_ASKED = {"passes", "budget"}


def content_key(judge: LLMJudge, method: str, system: str, transcript: Transcript) -> str:
    """The key under which a group's verdicts by a judge are kept."""
    settings = judge.model_dump(mode="json", include=_SAMPLING | _SHOWN | _ASKED)
    shown = [transcript.context, transcript.digests]
    return digest([templates.PROMPT_VERSION, method, settings, system, *shown])


def judge_key(judge: LLMJudge, method: str, system: str) -> str:
    """Names a judge as far as its noise goes."""
    settings = judge.model_dump(mode="json", include=_SAMPLING | _SHOWN)
    return digest([templates.PROMPT_VERSION, method, settings, system])


def checks_key(judge: ChecksJudge, transcript: Transcript, request: RankRequest) -> str:
    criteria = judge.model_dump(mode="json", include={"criteria"}, by_alias=True)
    return digest([criteria, request.reference, transcript.context, transcript.digests])


def ranking_id(key: str, answer: Any) -> str:
    """Names an answer: the content, and all that its rewards depend on beside it."""
    return "rk_" + digest([key, answer])[:20]


def digest(value: Any) -> str:
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
