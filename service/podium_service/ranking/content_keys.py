"""Name contents, judges and rankings by hashes, so that the store finds equal ones again."""

from hashlib import sha256
from typing import Any

import orjson

from podium_service.judges.settings import ChecksJudge, LLMJudge
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.wording import PROMPT_VERSION
from podium_service.schemas import RankRequest

_SAMPLING = {
    "model", "temperature", "seed", "reasoning_effort", "extra_body", "max_tokens",
    "response_format", "context_tokens",
}  # fmt: skip
_PROMPT = {"prompt", "explanations", "view", "canary", "block_size"}
_PLAN = {"passes", "audit", "budget"}


def content_key(judge: LLMJudge, method: str, system: str, transcript: Transcript) -> str:
    """Return the key under which the store keeps a group's verdicts by a judge."""
    settings = judge.model_dump(mode="json", include=_SAMPLING | _PROMPT | _PLAN)
    texts = [system, transcript.context, transcript.shown_digests]
    return digest([PROMPT_VERSION, method, settings, *texts])


def flipped_key(content_key: str) -> str:
    """Return the key of the same group with each list of it in reverse."""
    return digest([content_key, "flipped"])


def question_key(
    judge: LLMJudge, method: str, system: str, transcript: Transcript, body: int, number: int
) -> str:
    """Return the key of a question about one body alone, asked for the `number`-th time."""
    settings = judge.model_dump(mode="json", include=_SAMPLING | _PROMPT)
    texts = [system, transcript.context, transcript.shown_digests[body]]
    return digest([PROMPT_VERSION, method, settings, *texts, number])


def judge_key(judge: LLMJudge, method: str, system: str) -> str:
    """Return the key of a judge as far as its noise is concerned, under any name."""
    settings = judge.model_dump(mode="json", include=_SAMPLING | _PROMPT)
    return digest([PROMPT_VERSION, method, settings, system])


def checks_key(judge: ChecksJudge, transcript: Transcript, request: RankRequest) -> str:
    """Return the content key of a group that a checks judge ranks."""
    criteria = judge.model_dump(mode="json", include={"criteria"}, by_alias=True)
    return digest([criteria, request.reference, transcript.context, transcript.digests])


def ranking_id(content_key: str, reward_inputs: Any) -> str:
    """Return the id of a ranking, given everything its rewards depend on beside the content."""
    return "rk_" + digest([content_key, reward_inputs])[:20]


def digest(value: Any) -> str:
    """Return the SHA-256 of the value's JSON with sorted keys, as hex digits."""
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
