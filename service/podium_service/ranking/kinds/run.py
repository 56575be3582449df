"""Hold together what does not change between the calls of one LLM judge about one group."""

from dataclasses import dataclass

from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.transcript import Transcript
from podium_service.ranking.methods import METHODS, Method


@dataclass(frozen=True, slots=True)
class Run:
    """One LLM judge's run over one group.

    Attributes:
        judge_name: the judge's name in the judges file.
        method_name: the ranking method; never `auto`.
        content_key: the key of this content and judge in the store.
        judge_key: the key of the judge as far as its noise is concerned.
        is_datamarked: whether the spaces inside trajectories are marked.
        request_context: the client that asks, and what it has spent.
    """

    judge_name: str
    judge: EndpointJudge
    method_name: str
    content_key: str
    judge_key: str
    system: str
    is_datamarked: bool
    transcript: Transcript
    request_context: RequestContext

    @property
    def method(self) -> Method:
        return METHODS[self.method_name]

    @property
    def config(self) -> LLMJudge:
        return self.judge.config
