"""The pipeline, in reading order: gates -> transcript -> plan -> judge -> verdict -> aggregate ->
rewards. One group in, one ranking out, or one typed error; never a number in a failure's place.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import orjson

from service import prompts
from service.aggregate import certain, estimate, unasked
from service.answer import Outcome, failing, results
from service.checks import Check, check_score, failed_checks
from service.config import ChecksJudge, LLMJudge
from service.deadline import Deadline
from service.endpoint import ContextOverflow, Tokens
from service.errors import (
    CheckFailed,
    ContextExceeded,
    DeadlineExceeded,
    JudgeError,
    PodiumError,
    ReferenceRequired,
)
from service.flights import Flights
from service.judge import Call, Judge
from service.judges import Judges, Roster
from service.metrics import Metrics
from service.plan import balanced_orders
from service.schemas import Ranking, RankRequest, Usage
from service.store import Store
from service.transcript import Transcript, transcribe
from service.trim import estimate_tokens, fit
from service.verdict import Verdict

_TOKENS_PER_FENCE = 64
_SHRINK = (1.0, 0.75, 0.5)

# What one judge cannot do, the next one may.
_NEXT_JUDGE = (JudgeError, ContextExceeded, DeadlineExceeded, ReferenceRequired, CheckFailed)

Verdicts = dict[int, Verdict]


class Ranker:
    """Ranks groups. Holds no state but the flights in the air; everything else is passed in."""

    def __init__(self, judges: Judges, store: Store, metrics: Metrics) -> None:
        self.judges = judges
        self._store = store
        self._metrics = metrics
        self._flights: Flights[Verdicts] = Flights()

    async def rank(self, request: RankRequest, deadline: Deadline | None = None) -> Ranking:
        """Rank one group, by the judge it names or else that judge's fallbacks.

        Args:
            request: the group.
            deadline: if it has started already; by default the request's, starting now.

        Raises:
            PodiumError: A leaf that says what went wrong and whether asking again may help.
        """
        roster = self.judges.roster
        chain = roster.chain(request.judge)
        deadline = deadline or Deadline.after(request.deadline_s)
        usage = Usage()
        failures: list[PodiumError] = []
        for position, name in enumerate(chain):
            share = deadline.share(roster.num_slow(chain[position:]))
            try:
                async with share.enforced(f"judge {name}"):
                    ranking = await self._rank_by(roster, name, request, usage)
            except _NEXT_JUDGE as error:
                self._metrics.failed(name, error)
                failures.append(error)
            else:
                ranking.fallback_from = chain[0] if position else None
                self._metrics.ranked(ranking)
                return ranking
        raise _combined(chain, failures)

    async def _rank_by(
        self, roster: Roster, name: str, request: RankRequest, usage: Usage
    ) -> Ranking:
        judge = roster.config.judges[name]
        _require_reference(name, judge, request)
        gated = _gated(judge.gates, request)
        shown = [i for i in range(len(request.trajectories)) if i not in gated]
        transcript = transcribe(request, shown)
        if isinstance(judge, ChecksJudge):
            key = _checks_key(judge, transcript, request)
            outcome = _checked(judge, transcript, request)
            cached = False
        else:
            key, system = _content_key(judge, transcript, request)
            outcome, cached = await self._judged(
                name, roster.llms[name], key, system, transcript, usage
            )
        ranking = Ranking(
            id=_ranking_id(key, judge.reward, outcome, gated),
            group_id=request.group_id,
            judge=name,
            model=judge.model if isinstance(judge, LLMJudge) else None,
            method=judge.method if isinstance(judge, LLMJudge) else "checks",
            passes=outcome.passes,
            results=results(request, outcome, gated, judge.reward),
            reliability=outcome.estimate.reliability,
            cached=cached,
            usage=usage.model_copy(),
        )
        await self._store.add_ranking(key, ranking, _asked(request))
        return ranking

    async def _judged(
        self,
        name: str,
        judge: Judge,
        key: str,
        system: str,
        transcript: Transcript,
        usage: Usage,
    ) -> tuple[Outcome, bool]:
        """The outcome by an LLM judge, and whether it was had without a call of our own."""
        if len(transcript.bodies) < 2:  # all equal: nothing to ask
            return Outcome(transcript, unasked(len(transcript.bodies)), [], 0), False
        calls_before = usage.calls
        verdicts, _ = await self._flights.join(
            key, lambda: self._verdicts(name, judge, key, system, transcript, usage)
        )
        passes = [verdicts[index] for index in sorted(verdicts)]
        measured = estimate([verdict.by_body() for verdict in passes], judge.config.noise_sd)
        outcome = Outcome(transcript, measured, passes, len(passes))
        return outcome, usage.calls == calls_before

    async def _verdicts(
        self,
        name: str,
        judge: Judge,
        key: str,
        system: str,
        transcript: Transcript,
        usage: Usage,
    ) -> Verdicts:
        """All passes' verdicts: those at hand, and the others asked for at once."""
        verdicts = await self._store.verdicts(key)
        config = judge.config
        orders = balanced_orders(len(transcript.bodies), config.passes, seed=int(key[:16], 16))
        if all(index in verdicts for index in range(config.passes)):
            return verdicts
        context = await judge.context_tokens()
        reply_tokens = judge.reply_tokens(len(transcript.bodies), context)
        overhead = estimate_tokens(system) + _TOKENS_PER_FENCE * (len(transcript.bodies) + 1)

        async def ask(index: int, fitted: Transcript) -> None:
            def keep(call: Call) -> None:
                spent = _usage(config, call.reply.tokens)
                _add(usage, spent)
                self._metrics.spent(name, spent)
                if call.fault:
                    self._metrics.fault(name)
                self._store.add_call(key, index, name, call, spent)

            prompt = prompts.listwise_prompt(system, fitted, orders[index])
            verdicts[index] = await judge.ask(prompt, reply_tokens, keep)

        for shrink in _SHRINK:
            fitted = fit(transcript, int(shrink * (context - reply_tokens - overhead)))
            missing = [index for index in range(config.passes) if index not in verdicts]
            try:
                await _all_or_cancel([ask(index, fitted) for index in missing])
            except ContextOverflow as error:
                overflow = error
            else:
                return verdicts
        raise ContextExceeded(f"even trimmed to half the group is too long: {overflow}")


async def _all_or_cancel(coroutines: Sequence[Any]) -> None:
    """Run all at once; the first failure cancels the rest and is raised as it is."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _combined(chain: Sequence[str], failures: Sequence[PodiumError]) -> PodiumError:
    """One error for a chain of judges: one worth a retry if any is, with every judge's words."""
    chosen = next((error for error in failures if error.retryable), failures[0])
    if len(failures) == 1:
        return chosen
    said = zip(chain, failures, strict=True)
    detail = "; ".join(f"{name}: {error.detail}" for name, error in said)
    # A new one: callers who share a flight share its error, too.
    return type(chosen)(detail, fields=chosen.fields, retry_after_s=chosen.retry_after_s)


def _gated(gates: Sequence[Check], request: RankRequest) -> dict[int, list[Check]]:
    """The trajectories that fail a gate, by index, with the gates they fail."""
    gated = {}
    for index, trajectory in enumerate(request.trajectories):
        failed = failed_checks(gates, trajectory, request.reference)
        if failed:
            gated[index] = failed
    return gated


def _require_reference(name: str, judge: LLMJudge | ChecksJudge, request: RankRequest) -> None:
    checks = judge.criteria if isinstance(judge, ChecksJudge) else judge.gates
    if request.reference is None and any(check.needs_reference for check in checks):
        raise ReferenceRequired(
            f"judge {name!r} compares with a reference and this group has none: send `reference`, "
            "or name an LLM judge in a judges file and start with `podium serve --config FILE`",
            fields=[{"field": "reference", "rule": f"required by judge {name!r}"}],
        )


def _checked(judge: ChecksJudge, transcript: Transcript, request: RankRequest) -> Outcome:
    scores, words = [], []
    for members in transcript.members:
        failed = failed_checks(judge.criteria, request.trajectories[members[0]], request.reference)
        scores.append(check_score(judge.criteria, failed))
        words.append(failing(failed) if failed else "meets all criteria")
    return Outcome(transcript, certain(scores), [], 1, words)


def _content_key(judge: LLMJudge, transcript: Transcript, request: RankRequest) -> tuple[str, str]:
    """What makes two questions to a judge the same one, and the system message it is asked with."""
    system = prompts.system_text(request.rubric or judge.rubric)
    sampling = judge.model_dump(
        mode="json",
        include={
            "model", "method", "passes", "temperature", "seed", "reasoning_effort", "extra_body",
            "max_tokens", "response_format", "context_tokens",
        },
    )  # fmt: skip
    return _hash(
        [prompts.PROMPT_VERSION, sampling, system, transcript.context, transcript.digests]
    ), system


def _checks_key(judge: ChecksJudge, transcript: Transcript, request: RankRequest) -> str:
    criteria = judge.model_dump(mode="json", include={"criteria"}, by_alias=True)
    return _hash([criteria, request.reference, transcript.context, transcript.digests])


def _ranking_id(key: str, reward: str, outcome: Outcome, gated: dict[int, list[Check]]) -> str:
    """Names the answer: the content, how often each trajectory stands in it, and the reward."""
    counts = [len(members) for members in outcome.transcript.members]
    estimated = outcome.estimate
    return "rk_" + _hash([key, reward, estimated.stderr, counts, _names(gated)])[:20]


def _names(gated: dict[int, list[Check]]) -> list[str]:
    return sorted(",".join(check.label for check in failed) for failed in gated.values())


def _hash(value: Any) -> str:
    return sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _asked(request: RankRequest) -> dict[str, Any]:
    """What is kept of a request beside what the judge was shown."""
    return {
        "group_id": request.group_id,
        "judge": request.judge,
        "metadata": request.metadata,
        "ids": [trajectory.id for trajectory in request.trajectories],
        "verified_rewards": [trajectory.verified_reward for trajectory in request.trajectories],
    }


def _usage(config: LLMJudge, tokens: Tokens) -> Usage:
    price = config.price
    cost = price.cost_usd(tokens.prompt, tokens.cached, tokens.completion) if price else None
    return Usage(
        calls=1,
        prompt_tokens=tokens.prompt,
        cached_tokens=tokens.cached,
        completion_tokens=tokens.completion,
        cost_usd=cost,
    )


def _add(usage: Usage, spent: Usage) -> None:
    usage.calls += spent.calls
    usage.prompt_tokens += spent.prompt_tokens
    usage.cached_tokens += spent.cached_tokens
    usage.completion_tokens += spent.completion_tokens
    if spent.cost_usd is not None:
        usage.cost_usd = (usage.cost_usd or 0.0) + spent.cost_usd
