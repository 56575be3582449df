"""The pipeline, in reading order: gates -> transcript -> plan -> judge -> verdict -> aggregate ->
rewards. One group in, one ranking out, or one typed error; never a number in a failure's place.
"""

from collections.abc import Sequence
from typing import Any

from podium_service.errors import (
    CheckFailed,
    ContextExceeded,
    DeadlineExceeded,
    JudgeError,
    Overloaded,
    PodiumError,
    ReferenceRequired,
    VerifiedRewardRequired,
)
from podium_service.judges.checks.criteria import criteria_score, failed_criteria
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.judges_file import AnyJudge
from podium_service.judges.registry import JudgeRegistry, Roster
from podium_service.judges.settings import ChecksJudge, JuryJudge, LLMJudge
from podium_service.prompts.defences.steering import num_shared_messages, steering_flags
from podium_service.prompts.transcript import Transcript, transcribe
from podium_service.ranking import content_keys
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.jury import assumed, rank_by_jury
from podium_service.ranking.llm_ranking import GroupScores, LLMRanker
from podium_service.ranking.results import failing, results
from podium_service.schemas import JurorResult, Ranking, RankRequest
from podium_service.scoring.estimate import estimate_exact
from podium_service.store.store import Store
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracing import UNTRACED, Tracing
from podium_service.tracebacks import drop_locals_on_error

# What one judge cannot do, the next one may.
_NEXT_JUDGE = (
    JudgeError,
    ContextExceeded,
    DeadlineExceeded,
    Overloaded,
    ReferenceRequired,
    VerifiedRewardRequired,
    CheckFailed,
)


class Ranker:
    """Ranks groups, by the judges it is given."""

    def __init__(
        self, judges: JudgeRegistry, store: Store, metrics: Metrics, tracing: Tracing = UNTRACED
    ) -> None:
        self.judges = judges
        self._store = store
        self._metrics = metrics
        self._tracing = tracing
        self._judging = LLMRanker(store, metrics)

    async def rank(
        self,
        request: RankRequest,
        deadline: Deadline | None = None,
        request_context: RequestContext | None = None,
    ) -> Ranking:
        """Rank one group, by the judge it names or else that judge's fallbacks.

        Args:
            request: the group.
            deadline: if it has started already; by default the request's, starting now.
            caller: who asks; nobody in particular by default.

        Raises:
            PodiumError: A leaf that says what went wrong and whether asking again may help.
        """
        with self._tracing.start_group(request) as span:
            ranking = await self._rank(request, deadline, request_context)
            span.set_ranking(ranking)
            return ranking

    @drop_locals_on_error
    async def _rank(
        self,
        request: RankRequest,
        deadline: Deadline | None,
        request_context: RequestContext | None,
    ) -> Ranking:
        roster = self.judges.roster
        chain = roster.chain(request.judge)
        deadline = deadline or Deadline.after(request.deadline_s)
        request_context = request_context or RequestContext()
        failures: list[PodiumError] = []
        for position, name in enumerate(chain):
            share = deadline.share(roster.num_slow(chain[position:]))
            try:
                request_context.ends_at = share.at
                async with share.enforce(f"judge {name}"):
                    judged, ranking = await self._rank_by(
                        roster, chain, position, request, request_context, share
                    )
            except _NEXT_JUDGE as error:
                self._metrics.count_failure(name, error)
                failures.append(error)
            except PodiumError as error:
                self._metrics.count_failure(name, error)
                raise
            else:
                return await self._kept(judged, ranking, request, deadline)
        raise _combined(chain, failures)

    async def _kept(
        self, judged: GroupScores, ranking: Ranking, request: RankRequest, deadline: Deadline
    ) -> Ranking:
        """The ranking, once it is durable. It is paid for: if time runs out now, no other judge is
        asked, and who asks again finds its verdicts."""
        try:
            async with deadline.enforce("the store"):
                await self._store.add_ranking(
                    judged.key, ranking, _asked(request), judged.call_keys
                )
        except PodiumError as error:
            self._metrics.count_failure(ranking.judge, error)
            raise
        self._metrics.count_ranking(ranking)
        return ranking

    async def _rank_by(
        self,
        roster: Roster,
        chain: Sequence[str],
        position: int,
        request: RankRequest,
        request_context: RequestContext,
        deadline: Deadline,
    ) -> tuple[GroupScores, Ranking]:
        name = chain[position]
        judge = roster.config.judges[name]
        _require(name, judge, request)
        flags = {} if isinstance(judge, ChecksJudge) else _steering(judge.steering, request)
        gated = _gated(judge, request, flags)
        shown = [i for i in range(len(request.trajectories)) if i not in gated]
        steered = any(flags.get(index) for index in shown)
        jurors: list[JurorResult] = []
        words: list[str] = []
        if isinstance(judge, ChecksJudge):
            judged, words = _checked(judge, transcribe(request, shown), request)
        elif isinstance(judge, JuryJudge):
            panel = await rank_by_jury(
                self._judging,
                roster.llms,
                judge,
                request,
                shown,
                request_context,
                deadline,
                steered=steered,
            )
            judged, jurors = panel.judged, panel.jurors
        else:
            judged = await self._judging.judged(
                name, roster.llms[name], request, shown, request_context, steered=steered
            )
        given = results(request, judged, gated, judge, words=words, flags=flags)
        ranking = Ranking(
            id=content_keys.ranking_id(judged.key, _answered(judge, judged, request, gated)),
            group_id=request.group_id,
            judge=name,
            fallback_from=chain[0] if position else None,
            model=judge.model if isinstance(judge, LLMJudge) else None,
            method=judged.method,
            passes=judged.passes,
            results=given,
            reliability=judged.estimate.reliability,
            noise=assumed(judged.noise),
            jurors=jurors,
            cached=judged.cached,
            usage=request_context.usage.model_copy(),
        )
        return judged, ranking


def _combined(chain: Sequence[str], failures: Sequence[PodiumError]) -> PodiumError:
    """One error for a chain of judges: one worth a retry if any is, with every judge's words."""
    chosen = next((error for error in failures if error.retryable), failures[0])
    if len(failures) == 1:
        return chosen
    said = zip(chain, failures, strict=True)
    detail = "; ".join(f"{name}: {error.detail}" for name, error in said)
    # A new one: callers who share a flight share its error, too.
    return type(chosen)(detail, fields=chosen.fields, retry_after_s=chosen.retry_after_s)


def _steering(mode: str, request: RankRequest) -> dict[int, list[str]]:
    """How each trajectory addresses the judge, by index; those that do not are left out."""
    if mode == "ignore":
        return {}
    num_shared = num_shared_messages(request.trajectories)
    found = steering_flags(request.trajectories, num_shared=num_shared)
    return {index: names for index, names in enumerate(found) if names}


def _require(name: str, judge: AnyJudge, request: RankRequest) -> None:
    """Refuse a group that lacks what the judge needs."""
    checks = judge.criteria if isinstance(judge, ChecksJudge) else judge.gates
    if request.reference is None and any(check.needs_reference for check in checks):
        raise ReferenceRequired(
            f"judge {name!r} compares with a reference and this group has none: send `reference`, "
            "or name an LLM judge in a judges file and start with `podium serve --config FILE`",
            fields=[{"field": "reference", "rule": f"required by judge {name!r}"}],
        )
    if judge.verified_weight:
        for index, trajectory in enumerate(request.trajectories):
            if trajectory.verified_reward is None:
                raise VerifiedRewardRequired(
                    f"judge {name!r} mixes in verified rewards (verified_weight "
                    f"{judge.verified_weight:g}) and trajectory {trajectory.id[:64]!r} has none: "
                    "send it for all, or name another judge",
                    fields=[
                        {
                            "field": f"trajectories.{index}.verified_reward",
                            "rule": f"required by judge {name!r}",
                        }
                    ],
                )


def _gated(
    judge: AnyJudge, request: RankRequest, flags: dict[int, list[str]]
) -> dict[int, list[str]]:
    """What each trajectory that is not to be shown fails, by index; for people and as flags."""
    gated = {}
    for index, trajectory in enumerate(request.trajectories):
        failed = failed_criteria(judge.gates, trajectory, request.reference)
        names = [check.label for check in failed]
        if flags.get(index) and not isinstance(judge, ChecksJudge) and judge.steering == "gate":
            names.append("steering")
        if names:
            gated[index] = names
    return gated


def _checked(
    judge: ChecksJudge, transcript: Transcript, request: RankRequest
) -> tuple[GroupScores, list[str]]:
    """The verdict of checks, and its words for each body."""
    scores, words = [], []
    for members in transcript.members:
        failed = failed_criteria(
            judge.criteria, request.trajectories[members[0]], request.reference
        )
        scores.append(criteria_score(judge.criteria, failed))
        words.append(failing([check.label for check in failed]) if failed else "meets all criteria")
    judged = GroupScores(
        transcript=transcript,
        estimate=estimate_exact(scores),
        verdicts=[],
        passes=1,
        method="checks",
        key=content_keys.checks_key(judge, transcript, request),
        noise=None,
        cached=False,
    )
    return judged, words


def _answered(
    judge: AnyJudge, judged: GroupScores, request: RankRequest, gated: dict[int, list[str]]
) -> list[Any]:
    """All that an answer depends on beside its content and judge."""
    estimated, mixed = judged.estimate, judge.verified_weight
    return [
        [judge.reward, mixed],
        [estimated.stderr, estimated.shrinkage],
        [len(members) for members in judged.transcript.members],
        sorted(map(str, gated.values())),
        [each.verified_reward for each in request.trajectories] if mixed else None,
    ]


def _asked(request: RankRequest) -> dict[str, Any]:
    """What is kept of a request beside what the judge was shown."""
    return {
        "group_id": request.group_id,
        "judge": request.judge,
        "metadata": request.metadata,
        "ids": [trajectory.id for trajectory in request.trajectories],
        "verified_rewards": [trajectory.verified_reward for trajectory in request.trajectories],
    }
