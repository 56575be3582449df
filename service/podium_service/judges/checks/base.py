"""What every check is: (trajectory, reference) -> pass or fail, and what it looks at."""

import unicodedata
from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field

from podium_service.judges.base_settings import QUALITY, ROBUSTNESS, Settings
from podium_service.schemas import Trajectory

# Given to every kind's own `check: Literal[...]`.
NAME = Field(description="the criterion's name", json_schema_extra=QUALITY)


class Criterion(Settings):
    """A rule that a trajectory meets or fails."""

    check: Annotated[str, NAME]
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=1.0,
        description="share of the score, relative to the weights of the judge's other criteria; 1 "
        "by default; without effect on a gate",
        json_schema_extra=QUALITY,
    )
    gate: bool = Field(
        default=False,
        description="true: a trajectory that fails this criterion gets reward 0 and the last rank, "
        "and the criterion does not enter the score; false by default",
        json_schema_extra=ROBUSTNESS,
    )
    needs_reference: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The check and its settings, as an explanation names it: `max_words(120)`."""
        settings = self.model_dump(exclude={"check", "weight", "gate"}, exclude_defaults=True)
        return f"{self.check}({', '.join(map(str, settings.values()))})" if settings else self.check

    @abstractmethod
    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        """Whether the trajectory meets this criterion.

        Raises:
            CriterionFailed: If that cannot be computed (a regex that runs away).
        """


def final_answer(trajectory: Trajectory) -> str:
    """The text of the last assistant message; empty if there is none."""
    for message in reversed(trajectory.messages):
        if message.role == "assistant":
            return message.text
    return ""


def normalised(text: str) -> str:
    """The text with spaces, case and typographic forms (NFKC) made one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
