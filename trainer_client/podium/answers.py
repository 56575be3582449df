"""The rewards that a client gets back, or why there are none.

`GroupReward.from_answer` turns an answer of the service into rewards, matched by id. The models are
the client's own small view of the service's schema, and ignore all other fields. To read one more
field, add it to its model with a default.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from podium.errors import Problem, ProtocolError, RankError, describe_fault, from_problem
from podium.groups import TrajectoryGroup


class _View(BaseModel):
    """A base that refuses "0.8" and NaN for a number and ignores fields that it does not know."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore", frozen=True)


class TrajectoryResult(_View):
    """The result of one trajectory.

    Attributes:
        id: the caller's id of the trajectory.
        rank: the place in the group; 1 is best, and ties share the mean rank.
        reward: the reward, in [0, 1].
        score: the estimate on the judge's scale; None if no judge was asked.
        stderr: the standard error of the score; None if it is unknown.
        explanation: one sentence of the judge.
        flags: warnings of the service about this trajectory, such as `steering:asks_for_score`.
    """

    id: str
    rank: float
    reward: float = Field(ge=0, le=1)
    score: float | None = None
    stderr: float | None = None
    explanation: str | None = None
    flags: list[str] = []


class Usage(_View):
    """The cost of a request; all zero when the answer came from the service's store."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None


class Ranking(_View):
    """The service's answer for one group.

    Attributes:
        id: the id of the ranking, the same each time it comes from the store.
        judge: the name of the judge that ranked the group.
        method: the method of that judge, such as `listwise`.
        passes: how often the judge saw each trajectory.
        results: one result per trajectory; a `GroupReward` has them in the order of its group.
        reliability: the share of the score variance that is signal, in [0, 1]; None if unknown.
        cached: whether the ranking came from the store.
        basis: `judged`, or why no trajectories could be compared: `identical`, `alone`,
            `all_gated`.
        usage: the cost of this request.
        model: the model of the judge; None for a judge without one.
        group_id: the group's name, as the request gave it.
        fallback_from: the judge that was asked first, if it failed and another one answered.
    """

    id: str
    judge: str
    method: str
    passes: int
    results: list[TrajectoryResult]
    reliability: float | None
    cached: bool
    basis: str = "judged"
    usage: Usage | None = None
    model: str | None = None
    group_id: str | None = None
    fallback_from: str | None = None


@dataclass(frozen=True)
class GroupReward:
    """The rewards of one group, or why there are none.

    Attributes:
        rewards: G floats in [0, 1] in the order of the group's trajectories; None if not ranked.
        mask: True if the group was ranked; if False, leave it out of baseline and loss.
        ranking: the service's answer; None if not ranked.
        error: the reason why the group was not ranked; None if it was.
    """

    rewards: list[float] | None = None
    mask: bool = False
    ranking: Ranking | None = None
    error: RankError | None = None

    @classmethod
    def from_answer(cls, group: TrajectoryGroup, answer: object) -> "GroupReward":
        """Check the answer for a group and match its rewards by id.

        Args:
            group: the group that was sent.
            answer: the ranking as decoded JSON.

        Raises:
            ProtocolError: If the answer is no ranking of exactly this group: it names another
                group, an id is missing, unknown or repeated, or a reward is no number in [0, 1].
        """
        ranking = _validate_ranking(answer)
        results = results_in_order(group, ranking)
        rewards = [result.reward for result in results]
        return cls(rewards, True, ranking.model_copy(update={"results": results}))

    @classmethod
    def from_error(cls, error: RankError) -> "GroupReward":
        """Return a group to leave out, with the reason.

        The error loses its traceback and its causes, because their frames hold request bodies.
        """
        error.__cause__ = error.__context__ = None
        return cls(error=error.with_traceback(None))

    @property
    def results(self) -> list[TrajectoryResult] | None:
        """Rank, reward, score, stderr, explanation and flags of each trajectory, in group order."""
        return self.ranking.results if self.ranking is not None else None


def results_in_order(group: TrajectoryGroup, ranking: Ranking) -> list[TrajectoryResult]:
    """Return the G results of a ranking in the order of the group's trajectories, matched by id.

    Raises:
        ProtocolError: If an id is missing, unknown or repeated, or the ranking is of another group.
    """
    _require_group_id(group, ranking.group_id)
    ids = [str(trajectory.id) for trajectory in group.trajectories]  # data sets number their rows
    expected = Counter(ids)
    received = Counter(result.id for result in ranking.results)
    if expected != received or len(expected) < expected.total():
        missing, unknown = sorted(expected - received)[:3], sorted(received - expected)[:3]
        repeated = [id for id, count in received.items() if count > 1][:3]
        detail = f"ids missing {missing}, unknown or too many {unknown}, repeated {repeated}"
        raise ProtocolError.about("wrong_ids", f"ranking {ranking.id}: {detail}")
    results = {result.id: result for result in ranking.results}
    return [results[id] for id in ids]


class _BatchLine(_View):
    index: int = Field(ge=0)
    group_id: str | None = None
    status: Literal["ranked", "failed"]
    ranking: Any = None
    problem: Any = None


def read_answer(group: TrajectoryGroup, body: bytes) -> GroupReward:
    """Read the body of a 200 from `POST /rank`, checked against the group.

    Raises:
        ProtocolError: If it is not JSON or not a ranking of exactly this group.
    """
    return GroupReward.from_answer(group, _decode(body))


def read_ranking(body: bytes) -> Ranking:
    """Read a ranking, not checked against any group.

    Raises:
        ProtocolError: If it is not JSON or not a ranking.
    """
    return _validate_ranking(_decode(body))


def read_line(groups: Sequence[TrajectoryGroup], line: bytes) -> tuple[int, GroupReward]:
    """Read one line of `POST /rank/batch`: the index of its group in the request, and its outcome.

    A fault of the line becomes the error of its group, if the line names one.

    Raises:
        ProtocolError: If the line does not tell which of the groups it is about.
    """
    try:
        parsed = _BatchLine.model_validate(_decode(line))
    except ValidationError as exc:
        raise ProtocolError.about("bad_line", describe_fault(exc)) from exc
    if parsed.index >= len(groups):
        detail = f"index {parsed.index} in the answer to a request of {len(groups)} groups"
        raise ProtocolError.about("bad_line", detail)
    try:
        return parsed.index, _read_outcome(groups[parsed.index], parsed)
    except ProtocolError as error:
        return parsed.index, GroupReward.from_error(error)


def _read_outcome(group: TrajectoryGroup, line: _BatchLine) -> GroupReward:
    _require_group_id(group, line.group_id)
    if line.status == "ranked":
        return GroupReward.from_answer(group, line.ranking)
    try:
        return GroupReward.from_error(from_problem(Problem.model_validate(line.problem)))
    except ValidationError as exc:
        raise ProtocolError.about("bad_problem", describe_fault(exc)) from exc


def _validate_ranking(answer: object) -> Ranking:
    try:
        return Ranking.model_validate(answer)
    except ValidationError as exc:
        raise ProtocolError.about("bad_ranking", describe_fault(exc)) from exc


def _decode(text: bytes) -> object:
    try:
        return from_json(text)
    except ValueError as exc:
        raise ProtocolError.about("not_json", f"the answer is not JSON: {exc}") from exc


def _require_group_id(group: TrajectoryGroup, group_id: str | None) -> None:
    if group.group_id is not None and group_id not in (None, str(group.group_id)):
        detail = f"the request is about group {group.group_id!r}, the answer about {group_id!r}"
        raise ProtocolError.about("wrong_group", detail)
