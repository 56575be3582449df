"""One group, one LLM judge: transcript -> plan -> judge -> verdicts -> estimate.

A method plans from the verdicts at hand, its questions are asked at once, and it plans again until
it has nothing left to ask. Callers who want the same at the same moment share one run.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf

from podium_service.errors import KeySpendLimit, Overloaded, PodiumError
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.group_budget import Budget
from podium_service.judges.limits import BudgetLimits
from podium_service.judges.llm_judge import Judge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts import templates
from podium_service.prompts.defences.escape import DATAMARK
from podium_service.prompts.transcript import Transcript, transcribe
from podium_service.prompts.trim import estimate_tokens
from podium_service.prompts.verdict import Verdict
from podium_service.ranking import content_keys
from podium_service.ranking.judge_history import JudgeHistory
from podium_service.ranking.methods import METHODS, Plan, Situation, choose_method
from podium_service.ranking.rounds import TOKENS_PER_FENCE, Question, Rounds, Verdicts
from podium_service.ranking.single_flight import SingleFlight
from podium_service.schemas import RankRequest
from podium_service.scoring.drift import SlotDrift
from podium_service.scoring.estimate import Estimate, estimate_unscored
from podium_service.scoring.noise import EMPTY_PAST_GROUP, JudgeNoise, PastGroup
from podium_service.store.store import Store, StoredVerdicts
from podium_service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class GroupScores:
    """What one judge made of a group.

    Attributes:
        transcript: what was shown, and whom each body stands for.
        estimate: the scores.
        verdicts: the calls behind it; empty where none was needed.
        passes: how often each trajectory was shown, rounded.
        method: the one used, also where the configuration says auto.
        key: of the content, by this judge.
        call_keys: under which the calls behind it are kept, where these are others: a jury's.
        noise: what was assumed of the judge.
        cached: whether it was had without a call of one's own.
    """

    transcript: Transcript
    estimate: Estimate
    verdicts: list[Verdict]
    passes: int
    method: str
    key: str
    noise: JudgeNoise | None
    cached: bool
    call_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """What a flight brings back: all verdicts, what was assumed of the judge, what they say."""

    verdicts: Verdicts
    noise: JudgeNoise | None
    estimate: Estimate


class LLMRanker:
    """Asks LLM judges. Holds the flights in the air and what is known of each judge."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._flights: SingleFlight[_Found] = SingleFlight()
        self._background = JudgeHistory(store)
        self._drift: defaultdict[str, SlotDrift] = defaultdict(SlotDrift)  # by the judge's name

    async def judged(
        self,
        name: str,
        judge: Judge,
        request: RankRequest,
        shown: Sequence[int],
        request_context: RequestContext,
        *,
        steered: bool = False,
    ) -> GroupScores:
        """Judge one group by one judge.

        Args:
            name: the judge's.
            judge: who is asked.
            request: the group.
            shown: indices of its trajectories.
            caller: who asks; what it costs is added to the usage.
            steered: whether one of the trajectories addresses the judge.

        Raises:
            JudgeError: If the judge gave no usable verdicts.
            ContextExceeded: If the group does not fit the judge's context, however trimmed.
        """
        config = judge.config
        marked = config.datamark == "always" or (config.datamark == "auto" and steered)
        transcript = transcribe(request, shown, view=config.view, datamark=marked)
        num_items = len(transcript.bodies)
        method_name = await self._method(judge, transcript, request.rubric)
        system = _system(config, METHODS[method_name].form, request.rubric, marked)
        key = content_keys.content_key(config, method_name, system, transcript)
        if num_items < 2:  # all equal: nothing to ask
            nothing = estimate_unscored(num_items)
            return GroupScores(transcript, nothing, [], 0, method_name, key, None, cached=False)
        unmarked = _system(config, METHODS[method_name].form, request.rubric, marked=False)
        judge_key = content_keys.judge_key(
            config, method_name, unmarked
        )  # marks do not make another judge
        question = Question(
            name, judge, method_name, key, judge_key, system, marked, transcript, request_context
        )
        calls_before = request_context.usage.calls
        found = await self._joined(question)
        verdicts = found.verdicts
        return GroupScores(
            transcript=transcript,
            estimate=found.estimate,
            verdicts=[verdicts[index] for index in sorted(verdicts)],
            passes=max(1, round(sum(len(each.order) for each in verdicts.values()) / num_items)),
            method=method_name,
            key=key,
            noise=found.noise,
            cached=request_context.usage.calls == calls_before,
        )

    async def _joined(self, question: Question) -> _Found:
        """What a run of this question found: one that is under way, or one of our own."""
        key, request_context = question.key, question.request_context
        while True:
            first = key not in self._flights
            # Another's run: whether it waits or asks, nobody can tell apart.
            with nullcontext() if first else request_context.timing.judging():
                try:
                    found = await self._flights.do(key, lambda: self._found(question))
                except (KeySpendLimit, Overloaded):
                    if first:
                        raise  # else it was another's money, or another's deadline
                else:
                    return found

    async def _method(self, judge: Judge, transcript: Transcript, rubric: str | None) -> str:
        config = judge.config
        if config.method != "auto":
            return config.method
        context = await judge.context_tokens()
        shared = estimate_tokens(transcript.context)

        def overhead(method: str, shown: int) -> int:
            form = METHODS[method].form
            system = estimate_tokens(_system(config, form, rubric, marked=True))
            return shared + system + judge.reply_tokens(form, shown, context)

        limits = config.budget or BudgetLimits()
        return choose_method(
            [estimate_tokens(body) + TOKENS_PER_FENCE for body in transcript.bodies],
            overhead,
            context,
            block_size=config.block_size,
            max_calls=limits.calls or inf,
            max_tokens=limits.tokens or inf,
        )

    async def _found(self, question: Question) -> _Found:
        """All verdicts that the method wants, those at hand included, and what they say."""
        async with self._store.claim(question.key) as recalled:
            if recalled.complete:
                return _recalled(question, recalled)
            return await self._asked(question, recalled)

    async def _asked(self, question: Question, recalled: StoredVerdicts) -> _Found:
        """The same, asked for as far as it is not there."""
        verdicts, method = dict(recalled.verdicts), question.method
        length = method.shown(_situation(question, None))
        known = _known(question, await self._background.noise(question.judge_key, length))
        situation = _situation(question, known)
        budget = Budget(question.config.budget, recalled.calls, recalled.tokens)
        asking = Rounds(question, verdicts, budget, self._store, self._metrics)
        await self._ask_all(question, asking, situation, verdicts)
        estimate = method.estimate(situation.with_verdicts(verdicts, 0))
        self._remember(question, estimate.past_group, known)
        return _Found(verdicts, known, estimate)

    async def _ask_all(
        self, question: Question, asking: Rounds, situation: Situation, verdicts: Verdicts
    ) -> None:
        """Plan and ask until there is nothing left to ask; `verdicts` fill as they come."""

        async def planned() -> Plan:
            calls_left = await asking.calls_left(situation)
            return question.method.plan(situation.with_verdicts(verdicts, calls_left))

        plan = await planned()
        if plan:
            await asking.let_in(plan)
        try:
            while plan and await asking.ask(plan):
                plan = await planned()
            if not plan:
                asking.require_enough()
        except PodiumError:
            await self._store.flush()  # what was paid counts when the group is asked again
            raise

    def _remember(
        self, question: Question, past: PastGroup | None, noise: JudgeNoise | None
    ) -> None:
        """Keep what the group tells about its judge."""
        if past and not past.has_residuals and not noise:
            past = None  # one pass of a judge whose slots are unknown: bias would look like signal
        judge_key = question.judge_key if past else ""  # what tells nothing is nobody's past
        self._store.add_past_group(question.key, judge_key, past or EMPTY_PAST_GROUP, noise)
        if past:
            self._background.add(judge_key, past)
            recent_bias = self._drift[question.name].add(past)
            if recent_bias is not None:
                self._metrics.set_recent_slot_bias(question.name, recent_bias)


def _system(config: LLMJudge, form: str, rubric: str | None, marked: bool) -> str:
    mark = DATAMARK if marked else None
    return templates.system_text(form, rubric or config.rubric, view=config.view, mark=mark)


def _known(question: Question, noise: JudgeNoise | None) -> JudgeNoise | None:
    """What is assumed of a judge: what was learnt, or else what is configured."""
    configured_sd = question.config.noise_sd
    if (noise is None or not noise.groups) and configured_sd is not None:
        return JudgeNoise.from_sd(configured_sd)
    return noise


def _situation(question: Question, noise: JudgeNoise | None) -> Situation:
    config = question.config
    return Situation(
        num_items=len(question.transcript.bodies),
        seed=int(question.key[:16], 16),
        passes=config.passes_for(question.method_name),
        noise=noise,
        block_size=config.block_size,
        level=config.signal_level,
    )


def _recalled(question: Question, recalled: StoredVerdicts) -> _Found:
    """What was found before, by whomever."""
    noise = _known(question, recalled.noise)
    verdicts = dict(recalled.verdicts)
    estimate = question.method.estimate(_situation(question, noise).with_verdicts(verdicts, 0))
    return _Found(verdicts, noise, estimate)
