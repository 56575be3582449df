"""Turn a group's scores into one result per trajectory, under the ids of the request."""

from collections.abc import Sequence

from podium_service.judges.judges_file import AnyJudge
from podium_service.prompts.templates import SHOWN_ID
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.group_scores import GroupScores
from podium_service.ranking.screening import Screening
from podium_service.schemas import RankRequest, TrajectoryResult
from podium_service.scoring.rewards import compute_rewards, mean_ranks, mix_verified_rewards


def build_results(
    request: RankRequest, judge: AnyJudge, screening: Screening, scores: GroupScores
) -> list[TrajectoryResult]:
    """Give each trajectory of the request its rank, reward and explanation.

    Trajectories that failed a gate get reward 0 and share the last rank. The others are ranked and
    rewarded among themselves; identical ones share everything.

    Args:
        request: the group.
        judge: the judge's settings, which say how scores become rewards.
        screening: the trajectories that were not shown, and the flags of all.
        scores: the scores of the trajectories that were shown.
    """
    members, estimate = scores.transcript.members, scores.estimate
    ranks = mean_ranks(estimate.scores, [len(indices) for indices in members])
    verified = [
        [request.trajectories[index].verified_reward or 0.0 for index in indices]
        for indices in members
    ]
    rewards = mix_verified_rewards(
        compute_rewards(estimate, judge.reward), verified, judge.verified_weight
    )
    explanations = scores.explanations or _explain(request, scores)
    results: dict[int, TrajectoryResult] = {}
    for body, indices in enumerate(members):
        for index in indices:
            results[index] = TrajectoryResult(
                id=request.trajectories[index].id,
                rank=ranks[body],
                reward=rewards[body],
                score=min(1.0, max(0.0, estimate.scores[body])) if estimate.has_scores else None,
                stderr=estimate.stderr[body] if estimate.stderr else None,
                explanation=explanations[body],
                flags=_name_steering(screening, index),
            )
    last_rank = len(screening.shown_indices) + (len(screening.failed_gates) + 1) / 2
    for index, labels in screening.failed_gates.items():
        gates = [f"gate:{label.partition('(')[0]}" for label in labels]
        results[index] = TrajectoryResult(
            id=request.trajectories[index].id,
            rank=last_rank,
            reward=0.0,
            score=None,
            stderr=None,
            explanation=explain_failures(labels),
            flags=gates + _name_steering(screening, index),
        )
    return [results[index] for index in range(len(request.trajectories))]


def explain_failures(labels: Sequence[str]) -> str:
    """Return the explanation of a trajectory that fails these criteria."""
    return f"fails {', '.join(labels)}"


def _name_steering(screening: Screening, index: int) -> list[str]:
    return [f"steering:{name}" for name in screening.steering_flags.get(index, ())]


def _explain(request: RankRequest, scores: GroupScores) -> list[str]:
    """Choose per body the explanation of the verdict whose score is nearest to the body's mean."""
    num_bodies = len(scores.transcript.bodies)
    if not scores.verdicts:
        return ["identical: no judge was asked"] * num_bodies
    ids = [request.trajectories[indices[0]].id for indices in scores.transcript.members]
    candidates: list[list[tuple[float, str]]] = [[] for _ in range(num_bodies)]
    for verdict in scores.verdicts:
        for body, score, text in _with_client_ids(verdict, ids):
            candidates[body].append((score, text))
    return [
        min(texts, key=lambda pair: abs(pair[0] - mean))[1]
        for texts, mean in zip(candidates, scores.estimate.means, strict=True)
    ]


def _with_client_ids(verdict: Verdict, ids: Sequence[str]) -> list[tuple[int, float, str]]:
    """Return (body, score, explanation) per slot, with the client's ids in the explanation."""
    names = {shown: ids[body] for shown, body in zip(verdict.ids, verdict.order, strict=True)}
    slots = zip(verdict.order, verdict.scores, verdict.explanations, strict=True)
    return [
        (body, score, SHOWN_ID.sub(lambda match: names.get(match[0], match[0]), text))
        for body, score, text in slots
    ]
