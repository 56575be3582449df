"""Rank a group by deterministic criteria, without an LLM."""

from podium_service.judges.checks.criteria import find_failed, score_criteria
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.settings import ChecksJudge
from podium_service.prompts.transcript import transcribe
from podium_service.ranking import content_keys
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.ranking.results import explain_failures
from podium_service.scoring.estimate import estimate_exact


async def rank_by_checks(
    group: GroupToRank[ChecksJudge], request_context: RequestContext
) -> GroupScores:
    """Score each trajectory by the weighted share of the criteria that it meets."""
    criteria, request = group.judge.criteria, group.request
    transcript = transcribe(request, group.screening.shown_indices)
    scores, explanations = [], []
    for indices in transcript.members:
        failed = find_failed(criteria, request.trajectories[indices[0]], request.reference)
        scores.append(score_criteria(criteria, failed))
        labels = [criterion.label for criterion in failed]
        explanations.append(explain_failures(labels) if failed else "meets all criteria")
    return GroupScores(
        transcript=transcript,
        estimate=estimate_exact(scores),
        method="checks",
        passes=1,
        content_key=content_keys.checks_key(group.judge, transcript, request),
        explanations=explanations,
    )
