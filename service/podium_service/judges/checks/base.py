"""What every check is: (trajectory, reference) -> pass or fail, and what it looks at."""

import unicodedata
from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from podium_service.schemas import Trajectory


class Criterion(BaseModel):
    """One criterion. `weight` is its share of the score; a `gate` floors the reward instead."""

    model_config = ConfigDict(extra="forbid")

    check: str
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    gate: bool = False
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
            CheckFailed: If that cannot be computed (a regex that runs away).
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
