"""Decide which trajectories of a group its judge sees, and refuse groups that it cannot be shown.

A trajectory that fails a gate is not shown to the judge: it gets reward 0 and the last rank. A
trajectory that addresses the judge is flagged, and treated as failing a gate where the judge's
`steering` setting says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podium_service.errors import (
    ImageLimit,
    ImagesNotSupported,
    ReferenceRequired,
    VerifiedRewardRequired,
)
from podium_service.judges.checks.criteria import find_failed
from podium_service.judges.judges_file import AnyJudge
from podium_service.judges.settings import LLMJudge
from podium_service.judges.settings.common import Steering
from podium_service.prompts.defences.steering import count_shared_messages, flag_trajectories
from podium_service.prompts.transcript import Transcript
from podium_service.schemas import RankRequest


@dataclass(frozen=True, slots=True)
class Screening:
    """The trajectories of one group before its judge sees them; keys are their indices."""

    shown_indices: Sequence[int]  # the trajectories that the judge sees
    failed_gates: Mapping[int, list[str]]  # labels of the gates that each other trajectory failed
    steering_flags: Mapping[int, list[str]]  # the ways in which a trajectory addresses the judge
    show_reasoning: bool = False  # whether the judge sees what the models thought
    steering: Steering = "ignore"  # what is done about trajectories that address the judge

    @property
    def is_steered(self) -> bool:
        """Whether a trajectory that the judge sees addresses the judge."""
        return bool(self.steering_indices)

    @property
    def steering_indices(self) -> frozenset[int]:
        """The trajectories that the judge sees and that address it."""
        return frozenset(index for index in self.shown_indices if index in self.steering_flags)


def screen(judge: AnyJudge, request: RankRequest) -> Screening:
    """Apply a judge's gates and look for trajectories that address the judge."""
    flags: dict[int, list[str]] = {}
    if judge.steering != "ignore":
        num_shared = count_shared_messages(request.trajectories)
        names = flag_trajectories(
            request.trajectories, num_shared=num_shared, show_reasoning=judge.show_reasoning
        )
        flags = {index: each for index, each in enumerate(names) if each}
    shown_indices, failed_gates = [], {}
    for index, trajectory in enumerate(request.trajectories):
        labels = [g.label for g in find_failed(judge.gates, trajectory, request.reference)]
        if index in flags and judge.steering == "gate":
            labels.append("steering")
        if labels:
            failed_gates[index] = labels
        else:
            shown_indices.append(index)
    return Screening(shown_indices, failed_gates, flags, judge.show_reasoning, judge.steering)


def require_inputs(name: str, judge: AnyJudge, request: RankRequest) -> None:
    """Refuse a group that lacks the reference or the verified rewards that its judge needs."""
    if request.reference is None and judge.needs_reference:
        raise ReferenceRequired(
            f"judge {name!r} compares with a reference and this group has none: send `reference`, "
            "or name an LLM judge in a judges file, and the file by `--config`",
            fields=[{"field": "reference", "rule": f"required by judge {name!r}"}],
        )
    for index, trajectory in enumerate(request.trajectories):
        if judge.verified_weight and trajectory.verified_reward is None:
            field = f"trajectories.{index}.verified_reward"
            raise VerifiedRewardRequired(
                f"judge {name!r} mixes in verified rewards (verified_weight "
                f"{judge.verified_weight:g}) and trajectory {trajectory.id[:64]!r} has none: send "
                "it for all, or name another judge",
                fields=[{"field": field, "rule": f"required by judge {name!r}"}],
            )


def require_visible_images(name: str, judge: LLMJudge, transcript: Transcript) -> None:
    """Refuse a group whose images the judge is not to be shown, or that are too many or too large.

    Raises:
        ImagesNotSupported, ImageLimit: As said.
    """
    images = transcript.images
    if not images or (judge.images == "drop" and not judge.vision):
        return
    if not judge.vision:
        raise ImagesNotSupported(
            f"the group shows {len(images)} different images and judge {name!r} sees none: name a "
            "judge with `vision: true`, or set `images: drop` to judge by the texts alone"
        )
    if len(images) > judge.max_images:
        raise ImageLimit(
            f"the group shows {len(images)} different images and judge {name!r} takes "
            f"{judge.max_images}: send fewer, or raise the judge's max_images"
        )
    largest = max(image.num_bytes for image in images)
    if largest > judge.max_image_bytes:
        raise ImageLimit(
            f"an image has {largest} bytes and judge {name!r} takes {judge.max_image_bytes}: scale "
            "it down, or raise the judge's max_image_bytes"
        )
