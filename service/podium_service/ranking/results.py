"""An outcome -> one result per trajectory of the request, in its order and under its ids."""

from collections.abc import Sequence

from podium_service.judges.judges_file import AnyJudge
from podium_service.prompts.templates import SHOWN_ID
from podium_service.prompts.verdict import Verdict
from podium_service.ranking.llm_ranking import GroupScores
from podium_service.schemas import RankRequest, TrajectoryResult
from podium_service.scoring.rewards import compute_rewards, mean_ranks, mix_verified_rewards


def results(
    request: RankRequest,
    judged: GroupScores,
    gated: dict[int, list[str]],
    judge: AnyJudge,
    *,
    words: Sequence[str] = (),
    flags: dict[int, list[str]],
) -> list[TrajectoryResult]:
    """Spread what was judged over the request's trajectories.

    Those that failed a gate, `gated`, get reward 0 and share the last rank. The others are ranked
    and rewarded among themselves; equal ones share everything.

    Args:
        request: the group.
        judged: scores of the distinct trajectories that were shown.
        gated: what each of the others failed, by index.
        judge: how scores become rewards.
        words: an explanation per body, where no verdict has one.
        flags: how trajectories address the judge, by index.
    """
    members = judged.transcript.members
    estimate = judged.estimate
    ranks = mean_ranks(estimate.scores, [len(indices) for indices in members])
    verified = [
        [request.trajectories[index].verified_reward or 0.0 for index in indices]
        for indices in members
    ]
    earned = mix_verified_rewards(
        compute_rewards(estimate, judge.reward), verified, judge.verified_weight
    )
    explained = words or _explanations(request, judged)
    found: dict[int, TrajectoryResult] = {}
    for body, indices in enumerate(members):
        for index in indices:
            found[index] = TrajectoryResult(
                id=request.trajectories[index].id,
                rank=ranks[body],
                reward=earned[body],
                score=min(1.0, max(0.0, estimate.scores[body])) if estimate.has_scores else None,
                stderr=estimate.stderr[body] if estimate.stderr else None,
                explanation=explained[body],
                flags=_steering(flags, index),
            )
    num_shown = sum(map(len, members))
    last = num_shown + (len(gated) + 1) / 2
    for index, failed in gated.items():
        gates = [f"gate:{label.partition('(')[0]}" for label in failed]
        found[index] = TrajectoryResult(
            id=request.trajectories[index].id,
            rank=last,
            reward=0.0,
            score=None,
            stderr=None,
            explanation=failing(failed),
            flags=gates + _steering(flags, index),
        )
    return [found[index] for index in range(len(request.trajectories))]


def failing(labels: Sequence[str]) -> str:
    """The explanation of a trajectory that does not meet some criteria."""
    return f"fails {', '.join(labels)}"


def _steering(flags: dict[int, list[str]], index: int) -> list[str]:
    return [f"steering:{name}" for name in flags.get(index, ())]


def _explanations(request: RankRequest, judged: GroupScores) -> list[str]:
    """Per body, the words of the call whose score is nearest to its mean, in the caller's ids."""
    num_bodies = len(judged.transcript.bodies)
    if not judged.verdicts:
        return ["identical: no judge was asked"] * num_bodies
    ids = [request.trajectories[indices[0]].id for indices in judged.transcript.members]
    said: list[list[tuple[float, str]]] = [[] for _ in range(num_bodies)]
    for verdict in judged.verdicts:
        for body, score, text in _in_callers_ids(verdict, ids):
            said[body].append((score, text))
    means = judged.estimate.means
    return [
        min(each, key=lambda pair: abs(pair[0] - mean))[1]
        for each, mean in zip(said, means, strict=True)
    ]


def _in_callers_ids(verdict: Verdict, ids: Sequence[str]) -> list[tuple[int, float, str]]:
    """(body, score, explanation); ids of that one call give way to the caller's."""
    names = {shown: ids[body] for shown, body in zip(verdict.ids, verdict.order, strict=True)}
    slots = zip(verdict.order, verdict.scores, verdict.explanations, strict=True)
    return [
        (body, score, SHOWN_ID.sub(lambda match: names.get(match[0], match[0]), text))
        for body, score, text in slots
    ]
