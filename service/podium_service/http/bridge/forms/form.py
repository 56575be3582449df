"""What a trainer sends for one sample or several, and what it wants back, as a `Form`.

A form is for trainers that post one finished sample at a time in a body of their own, with nothing
but a URL to set. So its settings are in the URL's query: `?group_size=8&judge=main`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from podium.integrations.outcome import ANCHOR_ID
from podium_service.errors import PodiumError
from podium_service.schemas import Ranking, TrajectoryResult

# The reward of each member of a group that was not ranked, for trainers that cannot leave one out:
# equal rewards have no advantage over each other.
NO_REWARD = 0.0

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Sample:
    """One finished sample of a trainer.

    Attributes:
        group: what the samples of one group have in common, as JSON values.
        prompt, completion: chat messages.
        name: what tells it from the others of its group; None if the trainer sends nothing.
        reference: a good answer, if the trainer has one.
        rubric: what the judge is to look at, if the trainer says so.
        fields: what may be named as the anchor, by its field in the body.
    """

    group: Any
    prompt: list[dict[str, Any]]
    completion: list[dict[str, Any]]
    name: str | None = None
    reference: str | None = None
    rubric: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [*self.prompt, *self.completion]


@dataclass(frozen=True)
class Reward:
    """The outcome for one sample: a result of a ranking, or the error of a group without one.

    Attributes:
        has_anchor: whether its group has one, as the settings say.
    """

    result: TrajectoryResult | None = None
    ranking: Ranking | None = None
    error: PodiumError | None = None
    has_anchor: bool = False

    @property
    def value(self) -> float:
        return self.result.reward if self.result else NO_REWARD

    def metrics(self) -> dict[str, float]:
        """Return numbers for the trainer's log; costs are the sample's share of its group's.

        The names are the same for a group that failed, because trainers stack them.
        """
        ranking, score = self.ranking, self.result.score if self.result else None
        usage = ranking.usage if ranking else None
        share = 1 / len(rewarded(ranking)) if ranking else 0.0
        tokens = usage.prompt_tokens + usage.completion_tokens if usage else 0
        wins = win_share(self.result, ranking) if ranking and self.result else 0.0
        anchored = {"podium/win_rate": wins} if self.has_anchor else {}
        return anchored | {
            "podium/score": score or 0.0,
            "podium/reliability": (ranking.reliability if ranking else None) or 0.0,
            "podium/groups_failed": 0.0 if ranking else 1.0,
            "podium/cost_usd": ((usage.cost_usd if usage else None) or 0.0) * share,
            "podium/judge_tokens": tokens * share,
        }


def win_share(result: TrajectoryResult, ranking: Ranking) -> float:
    """Return 1 if a sample ranks before its group's anchor, a half if they tie, else 0."""
    ranks = {each.id: each.rank for each in ranking.results}
    anchor = ranks.get(ANCHOR_ID, result.rank)
    return 0.5 * (1 + (result.rank < anchor) - (result.rank > anchor))


def rewarded(ranking: Ranking) -> list[TrajectoryResult]:
    """Return the results of a ranking without its anchor's."""
    return [each for each in ranking.results if each.id != ANCHOR_ID]


@dataclass(frozen=True)
class Form(Generic[Body]):
    """One trainer's bodies.

    Attributes:
        trainer: its name.
        body: the model of what it sends.
        read: returns the samples in a body.
        answer: returns the response's JSON value for a body and the rewards of its samples.
        example: a body, for the documentation.
    """

    trainer: str
    body: type[Body]
    read: Callable[[Body], list[Sample]]
    answer: Callable[[Body, Sequence[Reward]], Any]
    example: dict[str, Any]
