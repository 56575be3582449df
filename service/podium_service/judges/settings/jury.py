"""The settings of a jury: several LLM judges that rank the same group."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from podium_service.judges.base_settings import QUALITY, ROBUSTNESS, Count
from podium_service.judges.settings.common import GatedJudge


class JuryJudge(GatedJudge):
    """Several LLM judges, best of different model families, whose rankings are combined."""

    kind: Annotated[Literal["jury"], QUALITY]
    """`jury`: this judge combines the rankings of other judges."""
    members: Annotated[list[str], Field(min_length=2), QUALITY]
    """Names of the LLM judges of the jury, two or more; the jury's own `gates`, `steering`,
    `show_reasoning`, `reward` and `verified_weight` replace theirs."""
    quorum: Annotated[Count | None, ROBUSTNESS] = None
    """Members that must give a ranking for the jury to give one; more than half unless set."""

    @model_validator(mode="after")
    def _is_a_jury(self) -> Self:
        if len(set(self.members)) < len(self.members):
            raise ValueError("a judge is in the jury twice: asking it more often is `passes`")
        if self.quorum and self.quorum > len(self.members):
            raise ValueError(f"a quorum of {self.quorum} in a jury of {len(self.members)}")
        return self

    @property
    def needed(self) -> int:
        """The number of members that must give a ranking."""
        return self.quorum or len(self.members) // 2 + 1
