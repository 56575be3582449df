"""Rank a group by a jury: several LLM judges rank it at once, and their scores are combined.

A juror that fails drops out, and the response names it. A juror that disagrees with the others
beyond its own noise is overruled (see `scoring.jury`). Verdicts of different judges are never
mixed: each juror's verdicts become scores first.
"""

import asyncio
from asyncio import get_running_loop
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from podium_service import errors
from podium_service.errors import PodiumError
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.settings import JuryJudge
from podium_service.ranking import content_keys
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.ranking.kinds.llm_ranking import LLMRanker
from podium_service.schemas import JurorResult
from podium_service.scoring.estimate import Estimate, estimate_unscored
from podium_service.scoring.jury import Juror, JurorReport, combine

# The jurors' share of the time that is left; the rest is for combining and for the store.
_JURORS_SHARE = 0.9
# The least time that the other jurors get once a quorum has answered.
_GRACE_S = 5.0
# Another judge may rank the group where one fails in one of these ways.
FAILURES_OF_A_JUDGE = (
    errors.JudgeError,
    errors.ContextExceeded,
    errors.ImagesNotSupported,
    errors.ImageLimit,
    errors.DeadlineExceeded,
    errors.Overloaded,
)

JurorOutcome = GroupScores | PodiumError


async def rank_by_jury(
    llm_ranker: LLMRanker, group: GroupToRank[JuryJudge], request_context: RequestContext
) -> GroupScores:
    """Have all jurors rank the group at once, and combine the scores of those that do.

    Raises:
        QuorumMissed: If too few jurors rank the group. If the failure of one of the others is
            retryable, an error of that class is raised instead.
    """
    jury, time_left_s = group.judge, request_context.ends_at - get_running_loop().time()
    deadline = Deadline.after(_JURORS_SHARE * time_left_s)

    async def rank(name: str) -> JurorOutcome:
        try:
            llm = group.llms[name]
            async with deadline.enforce(f"juror {name}", llm.describe_load):
                config = llm.config
                juror = GroupToRank(group.request, group.screening, name, config, group.llms)
                return await llm_ranker.rank_group(juror, request_context)
        except FAILURES_OF_A_JUDGE as error:
            return error

    outcomes = await gather_jurors({name: rank(name) for name in jury.members}, jury.needed)
    scores = {name: each for name, each in outcomes.items() if isinstance(each, GroupScores)}
    failures = {name: each for name, each in outcomes.items() if isinstance(each, PodiumError)}
    if len(scores) < jury.needed:
        raise _quorum_missed(jury, len(scores), failures)
    failure_reports = [
        JurorResult(
            judge=name,
            model=group.llms[name].config.model,
            status="failed",
            weight=0.0,
            agreement=None,
            reliability=None,
            code=error.code,
        )
        for name, error in failures.items()
    ]
    jury_scores = combine_scores(group, scores)
    return replace(jury_scores, jurors=[*jury_scores.jurors, *failure_reports])


async def gather_jurors(
    jurors: Mapping[str, Coroutine[Any, Any, JurorOutcome]], num_needed: int
) -> dict[str, JurorOutcome]:
    """Return each juror's outcome, by name.

    Once `num_needed` jurors have ranked the group, the others get as long again, and at least
    `_GRACE_S`, because one juror that hangs must not delay every group.
    """
    started = get_running_loop().time()
    tasks = {name: asyncio.ensure_future(juror) for name, juror in jurors.items()}
    waiting, timeout_s, num_ranked = set(tasks.values()), None, 0
    try:
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            num_ranked += sum(isinstance(task.result(), GroupScores) for task in done)
            if num_ranked >= num_needed:
                timeout_s = max(_GRACE_S, get_running_loop().time() - started)
        late = errors.DeadlineExceeded("gave no ranking in time, though enough other jurors did")
        return {name: task.result() if task.done() else late for name, task in tasks.items()}
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def combine_scores(group: GroupToRank[JuryJudge], scores: Mapping[str, GroupScores]) -> GroupScores:
    """Combine the scores of one or more jurors, by name, into those of the jury."""
    # All jurors were shown the same bodies, though perhaps in different views.
    transcript = next(iter(scores.values())).transcript
    estimate, reports = estimate_unscored(len(transcript.bodies)), []
    if len(transcript.bodies) > 1:
        jury = combine([_as_juror(name, each.estimate) for name, each in scores.items()])
        names = [juror.name for juror in jury.jurors if juror.weight > 0]
        estimate = scores[names[0]].estimate if len(names) == 1 else jury
        ids = [group.request.trajectories[indices[0]].id for indices in transcript.members]
        reports = [_report_juror(juror, scores, ids) for juror in jury.jurors]
    juror_keys = tuple(each.content_key for each in scores.values())
    return GroupScores(
        transcript=transcript,
        estimate=estimate,
        method="jury",
        passes=sum(each.passes for each in scores.values()),
        content_key=content_keys.digest(juror_keys),
        call_keys=juror_keys,
        verdicts=[verdict for each in scores.values() for verdict in each.verdicts],
        cached=all(each.cached for each in scores.values()),
        jurors=reports,
    )


def _report_juror(
    juror: JurorReport, scores: Mapping[str, GroupScores], ids: list[str]
) -> JurorResult:
    return JurorResult(
        judge=juror.name,
        model=scores[juror.name].model,
        status=juror.status,
        weight=juror.weight,
        agreement=juror.agreement if len(scores) > 1 else None,
        reliability=scores[juror.name].estimate.reliability,
        noise=scores[juror.name].assumed_noise,
        overruled=[ids[body] for body in juror.overruled],
    )


def _as_juror(name: str, estimate: Estimate) -> Juror:
    return Juror(name, estimate.means, estimate.stderr, estimate.shrinkage)


def _quorum_missed(
    jury: JuryJudge, num_ranked: int, failures: Mapping[str, PodiumError]
) -> PodiumError:
    """Return the error of a jury without a quorum, which is retryable if one failure is."""
    messages = "; ".join(f"{name}: {error.detail}" for name, error in failures.items())
    detail = (
        f"{num_ranked} of {len(jury.members)} jurors ranked the group, and {jury.needed} are "
        f"needed: {messages}"
    )
    for error in failures.values():
        if error.retryable:
            return type(error)(detail, retry_after_s=error.retry_after_s)
    return errors.QuorumMissed(detail)
