"""Turn a group's scores into one result per trajectory, under the ids of the request."""

from collections.abc import Mapping, Sequence
from math import inf

from podium_service.judges.judges_file import AnyJudge
from podium_service.prompts.templates import SHOWN_ID
from podium_service.prompts.transcript import transcribe
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.schemas import Basis, TrajectoryResult
from podium_service.scoring.rewards import compute_rewards, mean_ranks, mix_verified_rewards

_UNASKED: dict[Basis, str] = {
    "identical": "identical: no judge was asked",
    "alone": "alone: there was no other attempt to compare with, and no judge was asked",
    "judged": "no judge was asked",
    "all_gated": "",
}


def build_results(group: GroupToRank[AnyJudge], scores: GroupScores) -> list[TrajectoryResult]:
    """Give each trajectory of the request its rank, reward and explanation.

    Trajectories that failed a gate get reward 0 and share the last rank. The others are ranked
    before them, and rewarded as if the judge had found each distinct one of them worse than all
    others; identical ones share everything.
    """
    trajectories, judge, screening = group.request.trajectories, group.judge, group.screening
    members, estimate = scores.transcript.members, scores.estimate
    ranks = mean_ranks(estimate.scores, [len(indices) for indices in members])
    verified = [
        [trajectories[index].verified_reward or 0.0 for index in indices] for indices in members
    ]
    rewards = mix_verified_rewards(
        compute_rewards(estimate, judge.reward, count_gated(group)),
        verified,
        judge.verified_weight,
    )
    ids = [trajectories[indices[0]].id for indices in members]
    explanations = scores.explanations or _explain(ids, group, scores)
    steering = {
        index: [f"steering:{name}" for name in names]
        for index, names in screening.steering_flags.items()
    }
    results: dict[int, TrajectoryResult] = {}
    for body, indices in enumerate(members):
        for index in indices:
            results[index] = TrajectoryResult(
                id=trajectories[index].id,
                rank=ranks[body],
                reward=rewards[body],
                score=min(1.0, max(0.0, estimate.scores[body])) if estimate.has_scores else None,
                stderr=estimate.stderr[body] if estimate.stderr else None,
                explanation=explanations[body],
                flags=steering.get(index, []),
            )
    last_rank = len(screening.shown_indices) + (len(screening.failed_gates) + 1) / 2
    for index, labels in screening.failed_gates.items():
        gates = [f"gate:{label.partition('(')[0]}" for label in labels]
        results[index] = TrajectoryResult(
            id=trajectories[index].id,
            rank=last_rank,
            reward=0.0,
            score=None,
            stderr=None,
            explanation=explain_failures(labels),
            flags=gates + steering.get(index, []),
        )
    return [results[index] for index in range(len(trajectories))]


def count_gated(group: GroupToRank[AnyJudge]) -> int:
    """Count the distinct trajectories that failed a gate."""
    screening = group.screening
    if not screening.failed_gates:
        return 0
    gated = sorted(screening.failed_gates)
    shown = transcribe(group.request, gated, show_reasoning=screening.show_reasoning)
    return len(shown.bodies)


def find_basis(group: GroupToRank[AnyJudge], scores: GroupScores) -> Basis:
    """Return what the rewards of a group rest on: verdicts, or why nothing could be compared."""
    num_shown = len(group.screening.shown_indices)
    if num_shown < 2:
        return "alone" if num_shown else "all_gated"
    return "judged" if len(scores.transcript.bodies) > 1 else "identical"


def explain_failures(labels: Sequence[str]) -> str:
    """Return the explanation of a trajectory that fails these criteria."""
    return f"fails {', '.join(labels)}"


def _explain(ids: Sequence[str], group: GroupToRank[AnyJudge], scores: GroupScores) -> list[str]:
    """Choose per body the explanation of the verdict whose score is nearest to the body's mean."""
    if not scores.verdicts:
        return [_UNASKED[find_basis(group, scores)]] * len(ids)
    means = scores.estimate.means
    nearest = [(inf, "")] * len(ids)
    for verdict in scores.verdicts:
        names = {shown: ids[body] for shown, body in zip(verdict.ids, verdict.order, strict=True)}
        slots = zip(verdict.order, verdict.scores, verdict.explanations, strict=True)
        for body, score, text in slots:
            distance = abs(score - means[body])
            if distance < nearest[body][0]:
                nearest[body] = distance, _with_client_ids(text, names)
    return [text for _, text in nearest]


def _with_client_ids(text: str, names: Mapping[str, str]) -> str:
    return SHOWN_ID.sub(lambda match: names.get(match[0], match[0]), text)
