"""A jury: several LLM judges rank the same group, their estimates are combined.

A juror that fails drops out and is named; one at odds with the others beyond its own noise is
overruled. Verdicts of different judges are never mixed, only their estimates.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import Any

from podium_service.errors import (
    ContextExceeded,
    DeadlineExceeded,
    JudgeError,
    Overloaded,
    PodiumError,
    QuorumMissed,
)
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.llm_judge import Judge
from podium_service.judges.settings import JuryJudge
from podium_service.ranking import content_keys
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.llm_ranking import GroupScores, LLMRanker
from podium_service.schemas import AssumedNoise, JurorResult, RankRequest
from podium_service.scoring import jury
from podium_service.scoring.estimate import Estimate, estimate_unscored
from podium_service.scoring.noise import JudgeNoise

# Of what is left of the deadline; the rest is for combining, and for the store.
_JURORS_SHARE = 0.9

# Of a juror whose one pass tells nothing of its noise.
_UNKNOWN_TRUST = 0.5

_GRACE_S = 5.0
_DROPS_OUT = (JudgeError, ContextExceeded, DeadlineExceeded, Overloaded)


@dataclass(frozen=True, slots=True)
class JuryScores:
    """Scores of a jury, as if one judge had given them, and how each juror fared."""

    judged: GroupScores
    jurors: list[JurorResult]


async def rank_by_jury(
    judging: LLMRanker,
    llms: dict[str, Judge],
    jury_config: JuryJudge,
    request: RankRequest,
    shown: Sequence[int],
    request_context: RequestContext,
    deadline: Deadline,
    *,
    steered: bool,
) -> JuryScores:
    """Ask all jurors at once and combine those that answer.

    Raises:
        QuorumMissed: If too few do; says why each of the others did not.
    """
    names = jury_config.members
    jurors_deadline = Deadline.after(_JURORS_SHARE * deadline.remaining_s())

    async def juror(name: str) -> GroupScores | PodiumError:
        try:
            async with jurors_deadline.enforce(f"juror {name}"):
                return await judging.judged(
                    name, llms[name], request, shown, request_context, steered=steered
                )
        except _DROPS_OUT as error:
            return error

    found = await _heard({name: juror(name) for name in names}, jury_config.needed)
    ranked = {name: each for name, each in found.items() if isinstance(each, GroupScores)}
    failed = {name: each for name, each in found.items() if isinstance(each, PodiumError)}
    if len(ranked) < jury_config.needed:
        raise _quorum_missed(len(ranked), jury_config, failed)
    models = {name: llms[name].config.model for name in names}
    panel = _combined(ranked, models, request)
    dropped = [_dropped(name, models[name], error) for name, error in failed.items()]
    return JuryScores(panel.judged, [*panel.jurors, *dropped])


async def _heard(
    jurors: dict[str, Coroutine[Any, Any, GroupScores | PodiumError]], needed: int
) -> dict[str, GroupScores | PodiumError]:
    """What each juror found. Once enough have ranked, the others get as long again, and at least
    some seconds: one that hangs must not hold up every group."""
    started = asyncio.get_running_loop().time()
    tasks = {name: asyncio.ensure_future(juror) for name, juror in jurors.items()}
    waiting: set[asyncio.Task[GroupScores | PodiumError]] = set(tasks.values())
    patience: float | None = None
    try:
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            ranked = sum(t.done() and isinstance(t.result(), GroupScores) for t in tasks.values())
            if ranked >= needed:
                patience = max(_GRACE_S, asyncio.get_running_loop().time() - started)
        late = DeadlineExceeded("not there when the others had been for a while")
        return {name: t.result() if t.done() else late for name, t in tasks.items()}
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _combined(
    ranked: dict[str, GroupScores], models: dict[str, str], request: RankRequest
) -> JuryScores:
    first = next(iter(ranked.values()))
    transcript = first.transcript  # the others show the same bodies, perhaps in another view
    together = GroupScores(
        transcript=transcript,
        estimate=estimate_unscored(len(transcript.bodies)),
        verdicts=[verdict for each in ranked.values() for verdict in each.verdicts],
        passes=sum(each.passes for each in ranked.values()),
        method="jury",
        key=content_keys.digest([each.key for each in ranked.values()]),
        call_keys=tuple(each.key for each in ranked.values()),
        noise=None,
        cached=all(each.cached for each in ranked.values()),
    )
    if len(transcript.bodies) < 2:
        return JuryScores(together, [])
    estimated = {name: each.estimate for name, each in ranked.items()}
    found = jury.combine(
        [
            jury.Juror(
                name, each.means, each.stderr, each.shrinkage if each.stderr else _UNKNOWN_TRUST
            )
            for name, each in estimated.items()
        ]
    )
    sitting = [each.name for each in found.jurors if each.weight > 0]
    estimate = estimated[sitting[0]] if len(sitting) == 1 else _estimate(found)
    ids = [request.trajectories[indices[0]].id for indices in transcript.members]
    jurors = [
        JurorResult(
            judge=each.name,
            model=models[each.name],
            status=each.status,
            weight=each.weight,
            agreement=each.agreement if len(found.jurors) > 1 else None,
            reliability=estimated[each.name].reliability,
            noise=assumed(ranked[each.name].noise),
            overruled=[ids[item] for item in each.overruled],
        )
        for each in found.jurors
    ]
    return JuryScores(replace(together, estimate=estimate), jurors)


def assumed(noise: JudgeNoise | None) -> AssumedNoise | None:
    """What was assumed of a judge, as the wire has it."""
    return AssumedNoise.model_validate(noise.to_json()) if noise else None


def _estimate(found: jury.JuryEstimate) -> Estimate:
    centre = fsum(found.means) / len(found.means)
    return Estimate(
        means=found.means,
        scores=[centre + found.reliability * (mean - centre) for mean in found.means],
        stderr=found.stderr,
        reliability=found.reliability,
        is_significant=found.is_significant,
        shrinkage=found.reliability,
    )


def _dropped(name: str, model: str, error: PodiumError) -> JurorResult:
    return JurorResult(
        judge=name,
        model=model,
        status="failed",
        weight=0.0,
        agreement=None,
        reliability=None,
        code=error.code,
    )


def _quorum_missed(
    num_ranked: int, jury_config: JuryJudge, failed: dict[str, PodiumError]
) -> PodiumError:
    """Worth a retry if one juror's failure is."""
    said = "; ".join(f"{name}: {error.detail}" for name, error in failed.items())
    detail = (
        f"{num_ranked} of {len(jury_config.members)} jurors ranked the group, and "
        f"{jury_config.needed} are needed: {said}"
    )
    passing = [error for error in failed.values() if error.retryable]
    if not passing:
        return QuorumMissed(detail)
    return type(passing[0])(detail, retry_after_s=passing[0].retry_after_s)
