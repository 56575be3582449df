"""The base class of criteria, and the parts of a trajectory that they look at."""

import unicodedata
from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field

from podium_service.judges.base_settings import QUALITY, ROBUSTNESS, Settings
from podium_service.schemas import Trajectory

# The field of each criterion's own `check: Annotated[Literal[...], NAME]`.
NAME = Field(description="The criterion's name.", json_schema_extra={"group": "quality"})


class Criterion(Settings):
    """A rule that a trajectory meets or fails."""

    check: Annotated[str, NAME]
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False), QUALITY] = 1.0
    """Share of the score, relative to the weights of the judge's other criteria; without effect on
    a gate."""
    gate: Annotated[bool, ROBUSTNESS] = False
    """True: a trajectory that fails this criterion gets reward 0 and the last rank, and the
    criterion does not enter the score."""
    needs_reference: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Name and settings, as in an explanation: `max_words(120)`."""
        settings = self.model_dump(exclude={"check", "weight", "gate"}, exclude_defaults=True)
        return f"{self.check}({', '.join(map(str, settings.values()))})" if settings else self.check

    @abstractmethod
    def holds(self, trajectory: Trajectory, reference: str | None) -> bool:
        """Tell whether the trajectory meets this criterion.

        Raises:
            CriterionFailed: If it cannot be computed, as with a regex that takes too long.
            ReferenceRequired: If it compares with a reference and there is none.
        """


def find_final_answer(trajectory: Trajectory) -> str:
    """Return the text of the last assistant message; empty if there is none."""
    for message in reversed(trajectory.messages):
        if message.role == "assistant":
            return message.text
    return ""


def normalise(text: str) -> str:
    """Make texts equal that differ only in spaces, case and typographic forms (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
