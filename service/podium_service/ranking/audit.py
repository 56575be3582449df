"""Choose the groups that are asked a second time, so that a judge asked once shows its noise.

The noise, the liking for slots and how much groups differ are learnt from these groups, and used
in all. Which groups they are follows from their content alone: a choice by scores would bias them.
"""

from podium_service.judges.limits import Passes
from podium_service.scoring.noise import JudgeNoise


def plan_audit(passes: Passes, share: float, content_key: str, noise: JudgeNoise | None) -> Passes:
    """Return the passes of a group, two at least if it is audited.

    Args:
        passes: as configured.
        share: of the groups to audit, in [0, 1].
        content_key: hex digits that name the group's content.
        noise: what is assumed of the judge; every group is audited until past groups tell it.
    """
    is_learnt = noise is not None and noise.groups > 0
    chance = int(content_key[16:32], 16) / 16**16  # the first 16 digits seed the orders
    if passes.min > 1 or not share or (is_learnt and chance >= share):
        return passes
    return passes.model_copy(update={"min": 2, "max": max(2, passes.max)})
