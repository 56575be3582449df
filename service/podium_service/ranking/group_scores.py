"""Pass a group from the pipeline to a judge kind, and the kind's scores back to the pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from podium_service.judges.judges_file import AnyJudge
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.screening import Screening
from podium_service.schemas import AssumedNoise, JurorResult, RankRequest
from podium_service.scoring.estimate import Estimate
from podium_service.scoring.noise import JudgeNoise

JudgeT = TypeVar("JudgeT", bound=AnyJudge)


@dataclass(frozen=True, slots=True)
class GroupToRank(Generic[JudgeT]):
    """One group that one judge is to rank."""

    request: RankRequest
    screening: Screening
    judge_name: str  # the judge's name in the judges file
    judge: JudgeT  # the judge's settings
    llms: Mapping[str, EndpointJudge]  # the LLM judges of the same judges file, by name


@dataclass(frozen=True, slots=True)
class GroupScores:
    """The scores that one judge gave a group, and the facts behind them.

    A body is a distinct trajectory: identical trajectories share one.
    """

    transcript: Transcript  # the bodies that were shown, and which trajectories each one stands for
    estimate: Estimate
    method: str  # the ranking method; never `auto`
    passes: int  # how often each body was shown, rounded
    content_key: str  # the key of this content and judge in the store
    call_keys: Sequence[str] = ()  # the keys of the calls in the store, if they differ
    verdicts: Sequence[Verdict] = ()  # empty where no LLM was asked
    model: str | None = None  # the LLM's name; None for a judge that is not one LLM
    noise: JudgeNoise | None = None
    cached: bool = False  # whether all verdicts were in the store or came from another request
    explanations: Sequence[str] = ()  # one per body; empty where the verdicts hold the explanations
    jurors: Sequence[JurorResult] = ()  # how each juror of a jury fared

    @property
    def assumed_noise(self) -> AssumedNoise | None:
        """The noise as the response states it."""
        return AssumedNoise.model_validate(self.noise.to_json()) if self.noise else None
