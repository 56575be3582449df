"""OpenRLHF's `--reward.remote_url` (0.11): lists of one sample, posted as each sample ends.

It sends no ids, gives up an attempt after 180 s and sends it again, five times. What it cannot do
is leave a sample out, so the members of a group that failed get equal rewards.
"""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, model_validator

from podium_service.http.bridge.forms.form import Form, Reward, Sample
from podium_service.schemas import MAX_TRAJECTORIES

# A completion ends with the tokenizer's own word for its end, which tells a judge nothing.
_END = re.compile(r"(?:<\|[\w-]{1,32}\|>|</s>|<eos>|<end_of_turn>|\s)+\Z")

Many = Field(min_length=1, max_length=MAX_TRAJECTORIES)


class RewardQuery(BaseModel):
    """The body that OpenRLHF posts."""

    query: Annotated[list[str], Many] = Field(description="prompt and completion, as one text")
    prompts: Annotated[list[str], Many]
    labels: list[Any] = Field(default=[], description="references, one for each prompt, or none")

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        sizes = [len(self.query), len(self.prompts), len(self.labels) or len(self.query)]
        if len(set(sizes)) > 1:
            raise ValueError(
                "query, prompts and labels must have one entry for each sample, not "
                f"{len(self.query)}, {len(self.prompts)} and {len(self.labels)}"
            )
        return self


def read(body: RewardQuery) -> list[Sample]:
    """Return the samples, with the completion cut out of each query."""
    labels = body.labels or [None] * len(body.prompts)
    return [
        Sample(
            group=[prompt, label],
            prompt=[{"role": "user", "content": prompt}],
            completion=[{"role": "assistant", "content": cut_completion(prompt, query)}],
            reference=reference_text(label),
            fields={"label": label},
        )
        for query, prompt, label in zip(body.query, body.prompts, labels, strict=True)
    ]


def cut_completion(prompt: str, query: str) -> str:
    """Return what follows the prompt, without end-of-text tokens.

    The query is decoded from tokens, so that a token may stand before the prompt; where the prompt
    is not found in it, all of it is returned.
    """
    _, found, completion = query.partition(prompt) if prompt else ("", True, query)
    return _END.sub("", completion if found else query)


def reference_text(label: Any) -> str | None:
    """Return a label as text, which is JSON for lists and objects; None if there is none."""
    if isinstance(label, list | dict):
        return json.dumps(label, ensure_ascii=False)
    return None if label is None or label == "" else str(label)


def answer(body: RewardQuery, rewards: Sequence[Reward]) -> dict[str, Any]:
    """Return numbers for one sample, and lists of numbers for several."""
    values = [reward.value for reward in rewards]
    logs = [reward.metrics() for reward in rewards]
    if len(rewards) == 1:
        return {"rewards": values[0], "scores": values[0], "extra_logs": logs[0]}
    stacked = {name: [each[name] for each in logs] for name in logs[0]}
    return {"rewards": values, "scores": values, "extra_logs": stacked}


FORM = Form(
    "OpenRLHF",
    RewardQuery,
    read,
    answer,
    {"query": ["What is 2 + 3? It is 5.</s>"], "prompts": ["What is 2 + 3?"], "labels": ["5"]},
)
