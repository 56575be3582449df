"""Rank one group; start reading the service here.

A group passes, in this order:

    screening   gates and flags: which trajectories the judge sees
    kinds       the judge's kind ranks those trajectories
    results     scores become ranks and rewards under the client's ids
    store       the ranking is kept before it is returned, with the group as it was sent

If a judge fails, the next judge of its `fallback` list ranks the group. One group gives one ranking
or one typed error; a failure never becomes a number. The store keeps every group that comes here,
also those that fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from structlog.contextvars import get_contextvars

from podium_service import errors
from podium_service.errors import PodiumError
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.registry import JudgeRegistry, Roster
from podium_service.judges.settings.common import GatedJudge
from podium_service.ranking import content_keys
from podium_service.ranking.deadline import Deadline
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.ranking.kinds import FAILURES_OF_A_JUDGE, LLMRanker, judge_kinds
from podium_service.ranking.results import build_results, count_gated, find_basis
from podium_service.ranking.screening import require_inputs, screen
from podium_service.schemas import Ranking, RankRequest
from podium_service.store.asks.ids import AskIds, failed_ranking_id
from podium_service.store.asks.records import Ask, name_of
from podium_service.store.protocol import Store
from podium_service.telemetry.metrics import Metrics
from podium_service.telemetry.tracebacks import drop_locals_on_error
from podium_service.telemetry.tracing import UNTRACED, Tracing

# Another judge may succeed where one fails in one of these ways.
_NEXT_JUDGE = (
    *FAILURES_OF_A_JUDGE,
    errors.ReferenceRequired,
    errors.VerifiedRewardRequired,
    errors.CriterionFailed,
)


class Ranker:
    """Ranks groups by the judges of the judges file, and keeps the rankings."""

    def __init__(
        self, judges: JudgeRegistry, store: Store, metrics: Metrics, tracing: Tracing = UNTRACED
    ) -> None:
        self.judges = judges
        self._store = store
        self._metrics = metrics
        self._tracing = tracing
        self._llm_ranker = LLMRanker(store, metrics)
        self._kinds = judge_kinds(self._llm_ranker)
        self._ask_ids = AskIds()

    async def rank(
        self,
        request: RankRequest,
        deadline: Deadline | None = None,
        request_context: RequestContext | None = None,
    ) -> Ranking:
        """Rank one group by the judge that it names, or by that judge's fallbacks.

        Args:
            request: the group.
            deadline: by default the request's `deadline_s` from now.
            request_context: the client that asks and what it has spent; by default a new one.

        Raises:
            PodiumError: If no judge ranks the group; the class says whether a retry may help.
        """
        context = request_context or RequestContext()
        context.run = name_of((request.metadata or {}).get("run")) or ""
        with self._tracing.start_group(request) as span:
            # Before anything is kept: a group that names no judge of ours is refused.
            roster = self.judges.roster
            asked = _Asked(request, context, roster, roster.chain(request.judge))
            try:
                ranking = await self._rank(asked, deadline or Deadline.after(request.deadline_s))
            except PodiumError as error:
                raise self._keep_failure(asked, error) from error
            span.set_ranking(ranking)
            return ranking

    @drop_locals_on_error
    async def _rank(self, asked: "_Asked", deadline: Deadline) -> Ranking:
        """Ask the judges of the chain in turn until one ranks the group, and keep the ranking."""
        roster, chain = asked.roster, asked.chain
        failures: list[PodiumError] = []
        for position, name in enumerate(chain):
            share = deadline.share(roster.num_slow(chain[position:]))
            context = replace(asked.context, ends_at=share.at)
            try:
                llm = roster.llms.get(name)
                describe = llm.describe_load if llm else None
                async with share.enforce(f"judge {name}", describe):
                    scores, ranking = await self._rank_by(roster, name, asked.request, context)
            except PodiumError as error:
                self._metrics.count_failure(name, error)
                if not isinstance(error, _NEXT_JUDGE):
                    raise
                failures.append(error)
            else:
                ranking.fallback_from = chain[0] if position else None
                return await self._keep(scores, ranking, asked, deadline)
        raise _merge_failures(chain, failures)

    async def _rank_by(
        self, roster: Roster, name: str, request: RankRequest, request_context: RequestContext
    ) -> tuple[GroupScores, Ranking]:
        """Rank the group by one judge."""
        judge = roster.config.judges[name]
        require_inputs(name, judge, request)
        group = GroupToRank(request, screen(judge, request), name, judge, roster.llms)
        scores = await self._kinds[judge.kind](group, request_context)
        if isinstance(judge, GatedJudge):
            tested = scores.estimate.test_signal(judge.signal_test)
            scores = replace(scores, estimate=tested)
        ranking = Ranking(
            id=content_keys.ranking_id(scores.content_key, _reward_inputs(group, scores)),
            group_id=request.group_id,
            judge=name,
            model=scores.model,
            method=scores.method,
            passes=scores.passes,
            results=build_results(group, scores),
            basis=find_basis(group, scores),
            reliability=scores.estimate.reliability,
            noise=scores.assumed_noise,
            jurors=list(scores.jurors),
            cached=scores.cached,
            usage=request_context.usage.model_copy(),
        )
        return scores, ranking

    async def _keep(
        self, scores: GroupScores, ranking: Ranking, asked: "_Asked", deadline: Deadline
    ) -> Ranking:
        """Return the ranking once the store has it.

        If the time runs out here, no other judge is asked, because this one is paid already: a
        client that retries gets the stored verdicts.
        """
        try:
            async with deadline.enforce("the store"):
                ask = asked.answered(
                    self._ask_ids.next(), ranking, ranking.judge, scores.content_key
                )
                await self._store.add_ranking(ask, scores.call_keys)
        except PodiumError as error:
            self._metrics.count_failure(ranking.judge, error)
            raise
        self._metrics.count_ranking(ranking)
        return ranking

    def _keep_failure(self, asked: "_Asked", error: PodiumError) -> PodiumError:
        """Have the store keep a group that failed, later, and return the error with its id."""
        ask_id = self._ask_ids.next()
        error = error.copy(failed_ranking_id(ask_id))
        self._store.add_failure(asked.answered(ask_id, error, asked.chain[0]))
        return error


@dataclass(frozen=True, slots=True)
class _Asked:
    """A group that is being ranked, for whom, and by which judges."""

    request: RankRequest
    context: RequestContext
    roster: Roster
    chain: Sequence[str]
    started_at: float = field(default_factory=perf_counter)

    def answered(
        self, ask_id: int, answer: Ranking | PodiumError, judge: str, key: str | None = None
    ) -> Ask:
        """Return what the store keeps of it."""
        return Ask(
            id=ask_id,
            request=self.request,
            answer=answer,
            judge=judge,
            key=key,
            calls=self.context.runs,
            usage=self.context.usage.model_copy(),
            latency_s=perf_counter() - self.started_at,
            api_key_id=self.context.api_key_id,
            request_id=get_contextvars().get("request_id"),
            again_of=self.context.again_of,
        )


def _merge_failures(chain: Sequence[str], failures: Sequence[PodiumError]) -> PodiumError:
    """Return one error with every judge's message; it is retryable if any of them is."""
    chosen = next((error for error in failures if error.retryable), failures[0])
    if len(failures) == 1:
        return chosen
    messages = zip(chain, failures, strict=True)
    detail = "; ".join(f"{name}: {error.detail}" for name, error in messages)
    # A new error, because clients that share a run of an LLM judge share that run's error too.
    return type(chosen)(detail, fields=chosen.fields, retry_after_s=chosen.retry_after_s)


def _reward_inputs(group: GroupToRank[Any], scores: GroupScores) -> list[Any]:
    """Return everything beside the content and the judge that the rewards depend on."""
    estimate, weight = scores.estimate, group.judge.verified_weight
    return [
        [group.judge.reward, weight],
        [estimate.stderr, estimate.shrinkage],
        [len(indices) for indices in scores.transcript.members],
        sorted(map(str, group.screening.failed_gates.values())),
        count_gated(group),
        [each.verified_reward for each in group.request.trajectories] if weight else None,
    ]
