"""Apply criteria to a trajectory: list those that it fails, and score it by those that it meets.

To add a criterion:

1. In `answers` or `actions`, subclass `Criterion` with `check: Annotated[Literal["name"], NAME]`
   and the fields it needs, each with a description and a group (see `base_settings`).
2. Write `holds`.
3. Add the class to `AnyCriterion`, where the judges file and the checks judge look it up.

Criteria that are meant as gates before an LLM judge are in `gates`.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from podium_service.judges.checks import actions, answers, gates
from podium_service.judges.checks.base import Criterion
from podium_service.schemas import Trajectory

AnyCriterion = Annotated[
    answers.MatchesReference
    | answers.Contains
    | answers.Regex
    | answers.JSONSchema
    | answers.MaxWords
    | actions.MaxTurns
    | actions.CallsTool
    | actions.NoToolErrors
    | gates.NotEmpty
    | gates.NotOpenerOnly
    | gates.NotTruncated,
    Field(discriminator="check"),
]


def find_failed(
    criteria: Sequence[Criterion], trajectory: Trajectory, reference: str | None
) -> list[Criterion]:
    """Return the criteria that the trajectory does not meet, in their order."""
    return [criterion for criterion in criteria if not criterion.holds(trajectory, reference)]


def score_criteria(criteria: Sequence[Criterion], failed: Sequence[Criterion]) -> float:
    """Return the weighted share of criteria that are met, gates aside; 1 if all are gates."""
    total = sum(criterion.weight for criterion in criteria if not criterion.gate)
    lost = sum(criterion.weight for criterion in failed if not criterion.gate)
    return 1.0 - lost / total if total else 1.0
