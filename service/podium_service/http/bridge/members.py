"""From samples in a trainer's own words to members of a group, and to its anchor."""

from hashlib import sha256
from typing import Any

from pydantic_core import to_json

from podium.integrations.anchors import FIRST_COMPLETION, FirstCompletions
from podium.integrations.outcome import ANCHOR_ID
from podium_service.errors import InvalidRequest
from podium_service.http.bridge.forms import nemo_gym
from podium_service.http.bridge.forms.form import Sample
from podium_service.http.requests.body import validate
from podium_service.schemas import JoinRequest, JudgeSettings, RankRequest, URLSettings

_UNNAMED = "-"


def member_of(
    path: str, settings: URLSettings, sample: Sample, anchor: list[dict[str, Any]] | None
) -> JoinRequest:
    """Return a sample as a member; a group is named by all that its samples have in common."""
    shared = [sample.group, settings.judge, settings.deadline_s, settings.anchor]
    digest = sha256(to_json(shared)).hexdigest()[:32]
    fields = {
        "group_id": f"{path.removeprefix('/bridge/')}/{digest}",
        "reference": sample.reference,
        "rubric": sample.rubric,
        "trajectory": {"id": sample.name or _UNNAMED, "messages": sample.messages},
        "anchor": None if anchor is None else {"id": ANCHOR_ID, "messages": anchor},
    }
    return validate(JoinRequest, settings.model_dump(exclude={"anchor"}) | fields)


def group_of(
    body: nemo_gym.CompareRequest, settings: JudgeSettings, key_id: str, first: FirstCompletions
) -> RankRequest:
    """Return the group of a body that holds it whole, with its anchor."""
    samples = nemo_gym.read_group(body)
    trajectories = [{"id": each.name, "messages": each.messages} for each in samples]
    anchor = choose_anchor(settings.anchor, samples[0], key_id, first)
    if anchor is not None:
        trajectories.append({"id": ANCHOR_ID, "messages": anchor})
    fields = {"trajectories": trajectories, "rubric": body.principle}
    return validate(RankRequest, settings.model_dump(exclude={"anchor"}) | fields)


def name_of(member: JoinRequest) -> str | None:
    """Return the name of a sample in its group; None if its trainer sends none."""
    name = member.trajectory.id
    return None if name == _UNNAMED else name


def choose_anchor(
    name: str | None, sample: Sample, key_id: str, first: FirstCompletions
) -> list[dict[str, Any]] | None:
    """Return the conversation of the fixed opponent that a URL names.

    Raises:
        InvalidRequest: If the body has no such text or messages.
    """
    if name is None:
        return None
    if name == FIRST_COMPLETION:
        completion = first.anchor([key_id, sample.group], sample.completion)
        return None if completion is None else [*sample.prompt, *completion]
    answer = sample.fields.get(name)
    if isinstance(answer, str):
        return [*sample.prompt, {"role": "assistant", "content": answer}]
    if isinstance(answer, list):
        return [*sample.prompt, *answer]
    known = ", ".join(sorted(each for each in sample.fields if len(each) <= 64)[:10]) or "none"
    rule = f"the body has no text {name!r}; its fields: {known}; or {FIRST_COMPLETION!r}"
    raise InvalidRequest(f"anchor: {rule}", fields=[{"field": "anchor", "rule": rule}])
