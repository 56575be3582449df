"""Settings that several kinds of judges share: rewards, fallbacks, gates."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from podium_service.judges.base_settings import QUALITY, ROBUSTNESS, Settings
from podium_service.judges.checks.criteria import AnyCriterion
from podium_service.judges.checks.gates import NotEmpty, NotOpenerOnly

RewardKind = Literal["win_probability", "rank", "score"]


class JudgeSettings(Settings):
    """The settings of every kind of judge."""

    reward: Annotated[RewardKind, QUALITY] = "win_probability"
    """How scores become rewards in [0, 1]: `win_probability` (the default) is the probability of
    beating another member of the group; `rank` goes from 1 for the best to 0 for the worst in even
    steps; `score` is the score itself, shrunk toward the group's mean."""
    verified_weight: Annotated[FiniteFloat, Field(ge=0, le=1), QUALITY] = 0.0
    """Share of the caller's `verified_reward` in the reward, from 0 (the default: not used) to 1;
    above 0 every trajectory must have a `verified_reward`."""
    fallback: Annotated[list[str], ROBUSTNESS] = Field(default_factory=list)
    """Names of the judges to ask in turn when this one fails for good; the judges of the chain that
    are not `checks` share a request's deadline equally."""


def _default_gates() -> list[AnyCriterion]:
    return [NotEmpty(check="not_empty"), NotOpenerOnly(check="not_opener_only")]


Steering = Literal["auto", "flag", "hide", "gate", "ignore"]


class GatedJudge(JudgeSettings):
    """The settings of judges that read what agents wrote: LLM judges and juries."""

    signal_test: Annotated[Annotated[FiniteFloat, Field(gt=0, lt=1)] | None, QUALITY] = None
    """Level of a test for differences, between 0 and 1: a group whose differences would be as large
    by chance in more than this share of groups of equals gets 0.5 for all; no test unless set, and
    differences are shrunk by what is known of the judge's noise."""
    gates: Annotated[list[AnyCriterion], ROBUSTNESS] = _default_gates()
    """Criteria, as of a `checks` judge; a trajectory that fails one gets reward 0 and the last
    rank, and no LLM sees it; `not_empty` and `not_opener_only` by default, `[]` for none."""
    steering: Annotated[Steering, ROBUSTNESS] = "auto"
    """Treatment of a trajectory whose text addresses the judge: `flag` names it in the result's
    `flags`; `hide` also leaves the paragraphs that do so out of what the judge sees; `gate` also
    gives it reward 0; `ignore` does not look. `auto` (the default) hides where the prompt is short,
    because small judges obey what they read, and flags elsewhere."""

    show_reasoning: Annotated[bool, QUALITY] = False
    """True: show what a model thought before it spoke (`reasoning_content`, parts of type
    `thinking`); unless set, attempts are judged by what they say and do, and one that only thought
    is empty."""

    @property
    def needs_reference(self) -> bool:
        """Whether a gate compares with the group's reference."""
        return any(gate.needs_reference for gate in self.gates)
