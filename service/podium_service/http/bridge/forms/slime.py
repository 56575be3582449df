"""slime's `--rm-type remote_rm --rm-url` (0.3): one sample, and a bare number back.

It sends no ids, gives up after 120 s, and tries ten times. Its own `--group-rm` with
`podium.integrations.slime.group_rm` is better where it can be used: it masks groups that failed.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from podium_service.http.bridge.forms.form import Form, Reward, Sample
from podium_service.http.bridge.forms.openrlhf import reference_text


class RemoteSample(BaseModel):
    """The body that slime posts."""

    prompt: str | list[dict[str, Any]]
    response: str
    label: Any = None


def read(body: RemoteSample) -> list[Sample]:
    """Return the sample; its prompt may be text or chat messages."""
    prompt = body.prompt
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [
        Sample(
            group=[prompt, body.label],
            prompt=asked,
            completion=[{"role": "assistant", "content": body.response}],
            reference=reference_text(body.label),
            fields={"label": body.label},
        )
    ]


def answer(body: RemoteSample, rewards: Sequence[Reward]) -> float:
    """Return the reward as a bare number."""
    [reward] = rewards
    return reward.value


FORM = Form(
    "slime", RemoteSample, read, answer, {"prompt": "What is 2 + 3?", "response": "5", "label": "5"}
)
