"""NeMo-Gym's resources servers: `/verify` with one rollout, `/compare` with a whole group.

A group that failed is masked, as NeMo-Gym's own judge servers do it: `mask_sample` leaves a rollout
out of the loss. `_ng_task_index` and `_ng_rollout_index` name group and rollout, if they are sent.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from podium.formats.chats import responses
from podium_service.http.bridge.forms.form import Form, Reward, Sample, rewarded, win_share
from podium_service.schemas import MAX_TRAJECTORIES, Ranking
from podium_service.schemas.request import Id


class _Open(BaseModel):
    """A model that keeps the fields it does not know."""

    model_config = ConfigDict(extra="allow")


class CreateParams(_Open):
    """The request to the policy, of which the prompt is read."""

    input: str | list[dict[str, Any]] = []


class Response(_Open):
    """The policy's response, an object of the Responses API."""

    output: list[dict[str, Any]] = []


class VerifyRequest(_Open):
    """One rollout, as an agent of NeMo-Gym posts it to `/verify`; other fields are repeated."""

    responses_create_params: CreateParams
    response: Response
    principle: str | None = Field(default=None, description="replaces the judge's rubric")
    prompt_id: Id | None = None
    task_index: int | None = Field(default=None, alias="_ng_task_index")
    rollout_index: int | None = Field(default=None, alias="_ng_rollout_index")


class CompareRequest(_Open):
    """A whole group, as posted to `/compare`."""

    conversation_history: list[dict[str, Any]]
    response_objs: list[Response] = Field(max_length=MAX_TRAJECTORIES)
    principle: str | None = None


def read(body: VerifyRequest) -> list[Sample]:
    """Return the rollout; its group is its task, if that is named, and its prompt."""
    asked = body.responses_create_params.input
    index = body.rollout_index
    return [
        Sample(
            group=[body.task_index, body.prompt_id, asked, body.principle],
            prompt=_prompt(asked),
            completion=_completion(body.response),
            name=None if index is None else str(index),
            rubric=body.principle,
            fields=body.model_extra or {},
        )
    ]


def answer(body: VerifyRequest, rewards: Sequence[Reward]) -> dict[str, Any]:
    """Return the body with its reward, or with the marks of a rollout that is left out."""
    [reward] = rewards
    answered = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    answered["reward"] = reward.value
    if reward.error is None:
        return answered | reward.metrics()
    kept = answered.get("instance_config")
    config = kept if isinstance(kept, dict) else {}
    return answered | {
        "mask_sample": True,
        "instance_config": config | {"mask_sample": True},
        "failure_kind": "judge_failed",
        "failure_reason": str(reward.error),
        "_ng_failure_class": "judge_failed",
        "_ng_failure_judge_error": reward.error.code,
    }


def read_group(body: CompareRequest) -> list[Sample]:
    """Return the samples of a group that came whole, their names in order."""
    prompt = _prompt(body.conversation_history)
    return [
        Sample(
            group=body.conversation_history,
            prompt=prompt,
            completion=_completion(response),
            name=str(index),
            fields=body.model_extra or {},
        )
        for index, response in enumerate(body.response_objs)
    ]


def answer_group(ranking: Ranking | None) -> dict[str, Any]:
    """Return the answer of `/compare`; None stands for a group without members."""
    if ranking is None:
        return {"rewards": [], "comparison_results": None, "metrics": None}
    results = rewarded(ranking)
    metrics = {"podium/reliability": ranking.reliability, "podium/cost_usd": ranking.usage.cost_usd}
    if len(results) < len(ranking.results):
        metrics["podium/win_rate"] = fmean(win_share(result, ranking) for result in results)
    return {
        "rewards": [result.reward for result in results],
        "comparison_results": None,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


def _prompt(asked: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}] if isinstance(asked, str) else responses.read(asked)


def _completion(response: Response) -> list[dict[str, Any]]:
    # Not every server of NeMo-Gym says the role of the policy's own messages.
    said = [{"role": "assistant"} | x if x.get("type") == "message" else x for x in response.output]
    return responses.read(said)


FORM = Form(
    "NeMo-Gym",
    VerifyRequest,
    read,
    answer,
    {
        "responses_create_params": {"input": [{"role": "user", "content": "What is 2 + 3?"}]},
        "response": {
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "5"}]}]
        },
        "_ng_task_index": 0,
        "_ng_rollout_index": 3,
    },
)
