"""Score ART's trajectory groups by a judge, in place of `ruler_score_group`.

    groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(rollout(model, task) for _ in range(8)) for task in tasks),
        after_each=podium_score_group,
    )

The arguments have the places and names of `ruler_score_group`. A group that failed becomes None,
and ART goes on without it. A fault that no later group can escape is raised, and so ends the run.
"""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from podium.answers import GroupReward
from podium.client import AsyncRankClient
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.anchors import FIRST_COMPLETION, FirstCompletions
from podium.integrations.chat import Message, conversation
from podium.integrations.outcome import (
    MAX_GROUP_ID_CHARS,
    metrics,
    results_of,
    run_metadata,
    tell_page,
    with_anchor,
)

if TYPE_CHECKING:
    import art

__all__ = ["FIRST_COMPLETION", "judge_name", "podium_score_group"]

_log = logging.getLogger("podium")
_first = FirstCompletions()


async def podium_score_group(
    group: "art.TrajectoryGroup",
    judge_model: str | None = None,
    extra_litellm_params: Mapping[str, Any] | None = None,
    rubric: str | None = None,
    *,
    swallow_exceptions: bool = True,
    debug: bool = False,
    judges: Mapping[str, str] | None = None,
    reference: str | None = None,
    anchor: str | None = None,
    run: str | None = None,
    client: AsyncRankClient | None = None,
) -> "art.TrajectoryGroup | None":
    """Return a copy of the group with a judge's rewards, or None if it could not be ranked.

    All that the group and its trajectories hold is kept, also exceptions and policy versions. The
    old reward becomes the metric `independent_reward`, the judge's score `podium/score`, and the
    explanation a log.

    Args:
        group: G trajectories of one prompt; those that raised are not ranked.
        judge_model: the judge, as `judge_name` finds it; None for the service's default judge.
        extra_litellm_params: not used, because a judge's settings stand in the judges file.
        rubric: criteria that replace the judge's own rubric.
        swallow_exceptions: False raises instead of returning None.
        debug: log each result at level INFO.
        judges: the names of judges by `judge_model`, where they differ.
        reference: the name of the metadata with a known good answer, which the judge is shown.
        anchor: a fixed opponent, which is ranked in the group and never trained on: the name of the
            metadata with its answer, or `FIRST_COMPLETION`. `podium/win_rate` is against it.
        run: the name of the run, which the service keeps with the ranking.
        client: a client of a service; None makes one from `PODIUM_URL` and `PODIUM_API_KEY`.

    Raises:
        RankError: If no later group can be ranked; see `StopRule`. If `swallow_exceptions` is
            False, also if this one cannot.
        ValueError: If a trajectory has additional histories, or a metadata is not there.
    """
    if extra_litellm_params:
        _warn_once("extra_litellm_params are not used: write them into the judge's settings")
    scored = _copied(group)
    if not scored.trajectories:
        return scored
    judge = judge_name(judge_model, judges)
    asked = _group(scored, judge, rubric, reference=reference, anchor=anchor, run=run)
    client = client or _shared_client()
    outcome = await client.try_rank(asked)
    tell_page(client.page(run=run))
    if outcome.error is None:
        _score(scored, outcome, debug=debug)
        return scored
    if swallow_exceptions:
        return None
    raise outcome.error


def judge_name(judge_model: str | None, judges: Mapping[str, str] | None = None) -> str | None:
    """Return the name of the judge for a `judge_model` as ART and LiteLLM write it.

    It is what `judges` says, or else the text itself: a judges file may name a judge `openai/o3`.

    Args:
        judge_model: such as `openai/o3`, or the name of a judge; None for the default judge.
        judges: names of judges by `judge_model`.
    """
    return None if judge_model is None else (judges or {}).get(judge_model, judge_model)


def _copied(group: "art.TrajectoryGroup") -> "art.TrajectoryGroup":
    """Return a copy whose rewards, metrics and logs can be changed without changing the group's."""
    copied = copy.copy(group)
    copied.trajectories = [
        each.model_copy(
            update={
                "metrics": dict(each.metrics),
                "metadata": dict(each.metadata),
                "logs": list(each.logs),
            }
        )
        for each in group.trajectories
    ]
    return copied


def _group(
    group: "art.TrajectoryGroup",
    judge: str | None,
    rubric: str | None,
    *,
    reference: str | None,
    anchor: str | None,
    run: str | None,
) -> TrajectoryGroup:
    if any(each.additional_histories for each in group.trajectories):
        raise ValueError("podium_score_group ranks trajectories without additional_histories")
    first = group.trajectories[0]
    scenario = _metadata(group).get("scenario_id")
    step = first.initial_policy_version
    place = f"{run or 'art'}/step-{step or 0}"
    asked = TrajectoryGroup(
        [_trajectory(index, each, first) for index, each in enumerate(group.trajectories)],
        None if scenario is None else f"{place}/{scenario}"[:MAX_GROUP_ID_CHARS],
        judge=judge,
        rubric=rubric,
        reference=None if reference is None else str(_value(group, "reference", reference)),
        tools=first.tools,
        metadata=run_metadata("openpipe-art", run, step),
    )
    return with_anchor(asked, _anchor(group, anchor))


def _trajectory(index: int, each: "art.Trajectory", first: "art.Trajectory") -> Trajectory:
    reasons = [getattr(turn, "finish_reason", None) for turn in each.messages_and_choices]
    return Trajectory(
        str(index),
        _messages(each),
        tools=None if each.tools == first.tools else each.tools or [],
        finish_reason=next((reason for reason in reversed(reasons) if reason), None),
    )


def _messages(trajectory: "art.Trajectory") -> list[Message]:
    return conversation([], [dict(message) for message in trajectory.messages()])


def _anchor(group: "art.TrajectoryGroup", anchor: str | None) -> Sequence[Message] | None:
    if anchor is None:
        return None
    first = group.trajectories[0]
    messages = _messages(first)
    # A completion is a `Choice` of the OpenAI client; what comes before the first is the prompt.
    turns = first.messages_and_choices
    start = next((i for i, turn in enumerate(turns) if not isinstance(turn, dict)), len(turns))
    prompt = messages[:start]
    if anchor == FIRST_COMPLETION:
        completion = _first.anchor(prompt, messages[start:])
        return None if completion is None else conversation(prompt, completion)
    return conversation(prompt, str(_value(group, "anchor", anchor)))


def _value(group: "art.TrajectoryGroup", what: str, name: str) -> Any:
    known = _metadata(group)
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ValueError(
            f"podium_score_group takes the {what} from metadata {name!r}, which the group does not "
            f"have; its metadata: {names}"
        )
    return known[name]


def _metadata(group: "art.TrajectoryGroup") -> dict[str, Any]:
    return {**group.trajectories[0].metadata, **group.metadata}


def _score(group: "art.TrajectoryGroup", outcome: GroupReward, *, debug: bool) -> None:
    """Write the rewards of an outcome into the group, and into the log if that is asked for."""
    assert outcome.ranking is not None
    for trajectory, result in zip(group.trajectories, results_of(outcome) or (), strict=True):
        if debug:
            _log.info("trajectory %s: %s", result.id, result)
        trajectory.metrics["independent_reward"] = trajectory.reward
        trajectory.reward = result.reward
        if result.score is not None:
            trajectory.metrics["podium/score"] = result.score
        if result.explanation:
            trajectory.log(f"Podium explanation: {result.explanation}")
    group.metadata["podium_ranking"] = outcome.ranking.id
    values = metrics([outcome])
    group.metrics.update(values)
    _count_cost(values.get("podium/cost_usd"))


def _count_cost(usd: float | None) -> None:
    """Add the cost to that of ART's step, as `ruler_score_group` does."""
    from art.metrics import MetricsBuilder

    try:
        builder = MetricsBuilder.get_active()
    except LookupError:  # no step is running
        return
    if usd is not None:
        builder.add_cost("judge/podium", usd)


def _shared_client() -> AsyncRankClient:
    return _client(os.environ.get("PODIUM_URL"), os.environ.get("PODIUM_API_KEY"))


@lru_cache
def _client(url: str | None, _key: str | None) -> AsyncRankClient:
    return AsyncRankClient(url)


@lru_cache
def _warn_once(message: str) -> None:
    _log.warning(message)
