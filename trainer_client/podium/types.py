"""What goes to the reward service and what comes back. Read this file first.

`TrajectoryGroup.to_json` makes the body of `POST /rank`; `GroupReward.from_answer` turns its answer
into rewards, matched by id. The models are the client's own small view of the service's schema:
fields that it does not know are ignored. To read one more, add it to its model with a default.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from podium.errors import (
    Problem,
    ProtocolError,
    RankError,
    RequestRefused,
    describe_fault,
    from_problem,
)


@dataclass(frozen=True)
class Trajectory:
    """One attempt at a prompt.

    Attributes:
        id: unique in its group; rewards are matched by it.
        messages: OpenAI chat messages, prompt first; extra keys are allowed.
        tools: OpenAI tool definitions, if they differ from the group's.
        finish_reason: the sampler's, such as "stop" or "length".
        verified_reward: a reward that the caller checked itself, in [0, 1]; kept by the service,
            never shown to a judge, and not mixed into the reward yet.
    """

    id: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None
    finish_reason: str | None = None
    verified_reward: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object of the wire; fields that are None are left out."""
        return _given(self)


@dataclass(frozen=True)
class TrajectoryGroup:
    """The G trajectories of one prompt, in the order in which rewards come back.

    Attributes:
        trajectories: G of them, 2 <= G <= 64, with distinct ids.
        group_id: the caller's name for the group; echoed by the service.
        judge: a judge's name in the service's config; None for its default.
        task: what was to be done; shown to the judge.
        reference: a known good answer; shown to the judge, too.
        rubric: replaces the judge's rubric.
        tools: OpenAI tool definitions that all trajectories had.
        metadata: kept with the first request of this content, never shown to a judge.
    """

    trajectories: Sequence[Trajectory]
    group_id: str | None = None
    judge: str | None = None
    task: str | None = None
    reference: str | None = None
    rubric: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    metadata: Mapping[str, Any] | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object of the wire; fields that are None are left out."""
        return _given(self) | {"trajectories": [t.to_wire() for t in self.trajectories]}

    def to_json(self) -> bytes:
        """The body of `POST /rank`, the same bytes for the same group.

        Raises:
            RequestRefused: If JSON cannot carry it: a NaN, a lone surrogate, a foreign object.
        """
        try:
            text = json.dumps(
                self.to_wire(), ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
            return text.encode()
        except (TypeError, ValueError, RecursionError) as exc:
            detail = f"group {self.group_id!r} is not JSON: {type(exc).__name__}: {exc}"
            raise RequestRefused("not_json", None, False, None, detail) from exc


class _View(BaseModel):
    """Strict about types (no "0.8", no NaN), easy about fields that a newer service adds."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore", frozen=True)


class TrajectoryResult(_View):
    """One trajectory's place in the ranking.

    Attributes:
        id: the caller's id.
        rank: 1 is best; ties share the mean rank.
        reward: in [0, 1].
        score: the aggregate on the judge's scale; None if no judge was asked.
        stderr: the score's standard error; None if it cannot be known.
        explanation: the judge's words.
        flags: what the service noticed about this trajectory.
    """

    id: str
    rank: float
    reward: float = Field(ge=0, le=1)
    score: float | None = None
    stderr: float | None = None
    explanation: str | None = None
    flags: list[str] = []


class Usage(_View):
    """What the request spent; all zero when the answer came from the service's store."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None


class Ranking(_View):
    """The service's answer for one group.

    Attributes:
        id: the ranking's own id, the same each time it comes from the store.
        judge, model, method, passes: who ranked and how often.
        results: one per trajectory; match them by id.
        reliability: share of the score variance that is signal, in [0, 1]; None if unknown.
        cached: whether it came from the store.
        usage: what this request spent.
        group_id: the request's.
        fallback_from: the judge that was asked first, if another one answered.
    """

    id: str
    judge: str
    method: str
    passes: int
    results: list[TrajectoryResult]
    reliability: float | None
    cached: bool
    usage: Usage | None = None
    model: str | None = None
    group_id: str | None = None
    fallback_from: str | None = None


@dataclass(frozen=True)
class GroupReward:
    """The rewards of one group, or why there are none.

    Attributes:
        rewards: G floats in [0, 1], in the order of the group's trajectories; None if not ranked.
        mask: True: ranked, use it. False: leave the whole group out of baseline and loss.
        ranking: the service's answer; None if not ranked.
        error: why the group was not ranked; None if it was.
    """

    rewards: list[float] | None = None
    mask: bool = False
    ranking: Ranking | None = None
    error: RankError | None = None

    @classmethod
    def from_answer(cls, group: TrajectoryGroup, answer: object) -> "GroupReward":
        """Check the answer for a group and match its rewards by id.

        Args:
            group: the group that was asked about.
            answer: the ranking as decoded JSON.

        Raises:
            ProtocolError: If the answer is no ranking of exactly this group: an id is missing,
                unknown or repeated, a reward is not a number in [0, 1], or it names another group.
        """
        try:
            ranking = Ranking.model_validate(answer)
        except ValidationError as exc:
            raise ProtocolError.about("bad_ranking", describe_fault(exc)) from exc
        return cls(rewards_in_order(group, ranking), True, ranking)

    @classmethod
    def failed(cls, error: RankError) -> "GroupReward":
        """A group to leave out. The error lets go of its frames, which hold request bodies."""
        error.__cause__ = error.__context__ = None
        return cls(error=error.with_traceback(None))


def rewards_in_order(group: TrajectoryGroup, ranking: Ranking) -> list[float]:
    """The G rewards of a ranking in the order of the group's trajectories, matched by id.

    Raises:
        ProtocolError: If an id is missing, unknown or repeated, or the ranking is another group's.
    """
    _check_group_id(group, ranking.group_id)
    asked = Counter(t.id for t in group.trajectories)
    answered = Counter(result.id for result in ranking.results)
    if asked != answered or len(asked) < asked.total():
        missing, unknown = sorted(asked - answered)[:3], sorted(answered - asked)[:3]
        repeated = [id for id, count in answered.items() if count > 1][:3]
        detail = f"ids missing {missing}, unknown or too many {unknown}, repeated {repeated}"
        raise ProtocolError.about("wrong_ids", f"ranking {ranking.id}: {detail}")
    rewards = {result.id: result.reward for result in ranking.results}
    return [rewards[t.id] for t in group.trajectories]


class _BatchLine(_View):
    index: int = Field(ge=0)
    group_id: str | None = None
    status: Literal["ranked", "failed"]
    ranking: Any = None
    problem: Any = None


def read_answer(group: TrajectoryGroup, body: bytes) -> GroupReward:
    """The body of a 200 from `POST /rank`, checked against the group.

    Raises:
        ProtocolError: If it is not JSON or not a ranking of exactly this group.
    """
    return GroupReward.from_answer(group, _decode(body))


def read_line(groups: Sequence[TrajectoryGroup], line: bytes) -> tuple[int, GroupReward]:
    """One line of `POST /rank/batch`: the place of its group in the request, and what it says.

    Raises:
        ProtocolError: If it cannot be told which of the groups the line is about. A fault that
            concerns one known group is that group's error instead.
    """
    try:
        read = _BatchLine.model_validate(_decode(line))
    except ValidationError as exc:
        raise ProtocolError.about("bad_line", describe_fault(exc)) from exc
    if read.index >= len(groups):
        detail = f"index {read.index} in the answer to a request of {len(groups)} groups"
        raise ProtocolError.about("bad_line", detail)
    try:
        return read.index, _outcome(groups[read.index], read)
    except ProtocolError as error:
        return read.index, GroupReward.failed(error)


def _outcome(group: TrajectoryGroup, line: _BatchLine) -> GroupReward:
    _check_group_id(group, line.group_id)
    if line.status == "ranked":
        return GroupReward.from_answer(group, line.ranking)
    try:
        return GroupReward.failed(from_problem(Problem.model_validate(line.problem)))
    except ValidationError as exc:
        raise ProtocolError.about("bad_problem", describe_fault(exc)) from exc


def _decode(text: bytes) -> object:
    try:
        return from_json(text)
    except ValueError as exc:
        raise ProtocolError.about("not_json", f"the answer is not JSON: {exc}") from exc


def _check_group_id(group: TrajectoryGroup, answered: str | None) -> None:
    if group.group_id is not None and answered not in (None, group.group_id):
        detail = f"asked about group {group.group_id!r}, answered about {answered!r}"
        raise ProtocolError.about("wrong_group", detail)


def _given(record: Trajectory | TrajectoryGroup) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: value for name, value in values.items() if value is not None}
