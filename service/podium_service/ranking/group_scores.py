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
    """One group that one judge is to rank.

    Attributes:
        judge_name, judge: the judge's name in the judges file, and its settings.
        llms: the LLM judges of the same judges file, by name.
    """

    request: RankRequest
    screening: Screening
    judge_name: str
    judge: JudgeT
    llms: Mapping[str, EndpointJudge]


@dataclass(frozen=True, slots=True)
class GroupScores:
    """The scores that one judge gave a group, and the facts behind them.

    A body is a distinct trajectory: identical trajectories share one.

    Attributes:
        transcript: the bodies that were shown, and which trajectories each one stands for.
        method: the ranking method; never `auto`.
        passes: how often each body was shown, rounded.
        content_key: the key of this content and judge in the store.
        call_keys: the keys of the calls in the store, where they differ from `content_key`, as
            those of a jury do.
        verdicts: the judge's verdicts; empty where no LLM was asked.
        model: the LLM's name; None for a judge that is not one LLM.
        cached: whether all verdicts were in the store or came from another request's calls.
        explanations: one text per body; empty where the verdicts hold the explanations.
        jurors: how each juror of a jury fared.
    """

    transcript: Transcript
    estimate: Estimate
    method: str
    passes: int
    content_key: str
    call_keys: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    model: str | None = None
    noise: JudgeNoise | None = None
    cached: bool = False
    explanations: Sequence[str] = ()
    jurors: Sequence[JurorResult] = ()

    @property
    def assumed_noise(self) -> AssumedNoise | None:
        """The noise as the response states it."""
        return AssumedNoise.model_validate(self.noise.to_json()) if self.noise else None
