"""The settings of a checks judge: deterministic criteria instead of an LLM."""

from typing import Annotated, Literal

from pydantic import Field

from podium_service.judges.base_settings import QUALITY
from podium_service.judges.checks.criteria import AnyCriterion
from podium_service.judges.settings.common import JudgeSettings


class ChecksJudge(JudgeSettings):
    """A judge without an LLM, which scores a trajectory by the criteria that it meets."""

    kind: Annotated[Literal["checks"], QUALITY] = "checks"
    """`checks`: this judge applies criteria and asks no LLM."""
    criteria: Annotated[list[AnyCriterion], Field(min_length=1), QUALITY]
    """Criteria to apply, one or more; the score is the weighted share of those met."""

    @property
    def gates(self) -> list[AnyCriterion]:
        """The criteria that are gates."""
        return [criterion for criterion in self.criteria if criterion.gate]

    @property
    def steering(self) -> Literal["ignore"]:
        """The treatment of steering: none, because criteria cannot be talked to."""
        return "ignore"

    @property
    def show_reasoning(self) -> bool:
        """Whether thoughts count: never, because criteria look at answers and actions."""
        return False

    @property
    def needs_reference(self) -> bool:
        """Whether a criterion compares with the group's reference."""
        return any(criterion.needs_reference for criterion in self.criteria)
