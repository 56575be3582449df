"""Rank a group by one LLM: transcript -> plan -> calls -> verdicts -> scores.

The steps call each other in this order:

    rank_group    choose the method and write the transcript (`_show`), name the content
    _share_run    wait for the run of this content that is under way, or start one
    _load_or_ask  load the stored verdicts; if the run was completed before, score them
    _ask_missing  else ask for the missing verdicts (see `rounds`), score all, keep the history
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import inf

from podium_service.errors import KeySpendLimit, Overloaded
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.limits import BudgetLimits
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.judges.settings.common import Steering
from podium_service.prompts import wording
from podium_service.prompts.defences.escape import DATAMARK
from podium_service.prompts.plain import show_plainly
from podium_service.prompts.transcript import Transcript, transcribe
from podium_service.prompts.trim import bound_shown, estimate_shown, estimate_tokens
from podium_service.prompts.verdict import Verdict
from podium_service.ranking import content_keys
from podium_service.ranking.audit import plan_audit
from podium_service.ranking.group_scores import GroupScores, GroupToRank
from podium_service.ranking.judge_history import JudgeHistory
from podium_service.ranking.kinds.rounds import Rounds
from podium_service.ranking.kinds.run import TOKENS_PER_FENCE, Run
from podium_service.ranking.methods import METHODS, Situation, choose_method, prefer_methods
from podium_service.ranking.screening import require_visible_images
from podium_service.ranking.single_flight import SingleFlight
from podium_service.schemas import RankRequest
from podium_service.scoring.estimate import Estimate, estimate_unscored
from podium_service.scoring.noise import EMPTY_PAST_GROUP, JudgeNoise, SlotDrift
from podium_service.store.protocol import Store, StoredVerdicts
from podium_service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class _RunResult:
    """The verdicts of a completed run, the noise that was assumed of the judge, and the scores."""

    verdicts: dict[int, Verdict]
    noise: JudgeNoise | None
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class _Shown:
    """The texts of a group that a judge sees, and the method by which it is asked."""

    transcript: Transcript
    method_name: str
    is_datamarked: bool


class LLMRanker:
    """Ranks groups by LLM judges, and keeps the history of each judge."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._runs: SingleFlight[_RunResult] = SingleFlight()
        self._history = JudgeHistory(store)
        self._drift_by_judge: defaultdict[str, SlotDrift] = defaultdict(SlotDrift)

    async def rank_group(
        self, group: GroupToRank[LLMJudge], request_context: RequestContext
    ) -> GroupScores:
        """Rank one group by one LLM judge, and add the cost to the usage of the client that asks.

        Raises:
            JudgeError: If the judge gave no usable verdicts.
            ContextExceeded: If the group does not fit the judge's context, however trimmed.
            ImagesNotSupported, ImageLimit: If the judge is not to be shown the group's images.
            Overloaded: If the judge's queue is too long.
        """
        run = await write_run(group, request_context)
        transcript, method_name, config = run.transcript, run.method_name, run.config
        num_bodies, calls_before = len(transcript.bodies), request_context.usage.calls
        # Without two bodies all trajectories are identical and tie: there is nothing to ask.
        nothing = _RunResult({}, None, estimate_unscored(num_bodies))
        result = await self._share_run(run) if num_bodies > 1 else nothing
        num_shown = sum(len(verdict.order) for verdict in result.verdicts.values())
        return GroupScores(
            transcript=transcript,
            estimate=result.estimate,
            method=method_name,
            passes=round(num_shown / max(1, num_bodies)),
            content_key=run.content_key,
            verdicts=[result.verdicts[index] for index in sorted(result.verdicts)],
            model=config.model,
            noise=result.noise,
            cached=num_bodies > 1 and request_context.usage.calls == calls_before,
        )

    async def _share_run(self, run: Run) -> _RunResult:
        """Wait for the run of this content that is under way, or start one."""
        while True:
            starts = run.content_key not in self._runs
            # Time spent on another client's run counts as time at the judge, because nobody can
            # tell whether that run waits in a queue or for replies.
            with nullcontext() if starts else run.request_context.timing.track("judge"):
                try:
                    return await self._runs.do(run.content_key, lambda: self._load_or_ask(run))
                except (KeySpendLimit, Overloaded):
                    # The spending and the deadline of another client do not bind this one.
                    if starts:
                        raise

    async def _load_or_ask(self, run: Run) -> _RunResult:
        """Load the stored verdicts, and ask the judge for the missing ones."""
        async with self._store.claim(run.content_key) as stored:
            if not stored.complete:
                return await self._ask_missing(run, stored)
            verdicts, noise = dict(stored.verdicts), _assumed_noise(run, stored.noise)
            situation = _situation(run, noise).with_verdicts(verdicts, 0)
            return _RunResult(verdicts, noise, run.method.estimate(situation))

    async def _ask_missing(self, run: Run, stored: StoredVerdicts) -> _RunResult:
        """Ask for the missing verdicts, score them all, and keep the judge's history."""
        length = run.method.call_size(_situation(run, None))
        noise = _assumed_noise(run, await self._history.noise(run.judge_key, length))
        situation = _situation(run, noise)
        rounds = Rounds(run, stored, self._store, self._metrics)
        await rounds.ask_all(situation)
        estimate = run.method.estimate(situation.with_verdicts(rounds.verdicts, 0))
        past_group, judge_key = estimate.past_group, run.judge_key
        if past_group and not past_group.has_residuals and not noise:
            past_group = None  # from one pass, an unknown slot bias would look like signal
        if past_group is None:  # the run is complete, and tells nothing about its judge
            self._store.add_past_group(run.content_key, "", EMPTY_PAST_GROUP, noise)
        else:
            self._store.add_past_group(run.content_key, judge_key, past_group, noise)
            self._history.add(judge_key, past_group)
            recent_bias = self._drift_by_judge[run.judge_name].add(past_group)
            if recent_bias is not None:
                self._metrics.set_recent_slot_bias(run.judge_name, recent_bias)
        return _RunResult(rounds.verdicts, noise, estimate)


async def prepare_run(
    group: GroupToRank[LLMJudge], request_context: RequestContext
) -> tuple[Run, Situation]:
    """Return the run over a group and its situation before any verdict, without asking for one."""
    run = await write_run(group, request_context)
    return run, _situation(run, None)


async def write_run(group: GroupToRank[LLMJudge], request_context: RequestContext) -> Run:
    """Write the transcript and the system prompt, and name the content."""
    judge, config, rubric = group.llms[group.judge_name], group.judge, group.request.rubric
    shown = await _show(judge, group)
    transcript, method_name = shown.transcript, shown.method_name
    write_system = partial(_system_prompt, config, method_name, rubric, transcript)
    system = write_system(is_datamarked=shown.is_datamarked)
    # Datamarking does not change the judge's noise, so both variants share one history.
    unmarked_system = write_system(is_datamarked=False) if shown.is_datamarked else system
    content_key = design_key = content_keys.content_key(config, method_name, system, transcript)
    if group.request.flip_order and METHODS[method_name].has_order:
        content_key = content_keys.flipped_key(design_key)
    request_context.runs[content_key] = [indices[0] for indices in transcript.members]
    return Run(
        judge_name=group.judge_name,
        judge=judge,
        method_name=method_name,
        content_key=content_key,
        design_key=design_key,
        judge_key=content_keys.judge_key(config, method_name, unmarked_system),
        system=system,
        is_datamarked=shown.is_datamarked,
        transcript=transcript,
        request_context=request_context,
    )


async def _show(judge: EndpointJudge, group: GroupToRank[LLMJudge]) -> _Shown:
    """Choose the method, and write the transcript in the layout that suits it."""
    config, screening = group.judge, group.screening
    write = partial(
        transcribe,
        group.request,
        screening.shown_indices,
        view=config.view,
        show_reasoning=screening.show_reasoning,
        image_tokens=config.image_tokens if config.vision else 0,
    )
    is_datamarked = config.datamark == "always"
    transcript = write(datamark=is_datamarked)
    if len(transcript.bodies) > 1:
        require_visible_images(group.judge_name, config, transcript)
    method_name = await _choose_method(judge, transcript, group.request)
    form, style = METHODS[method_name].form, config.style_for(method_name)
    if screening.is_steered:
        is_hidden = _hides(screening.steering, style)
        is_datamarked |= config.datamark == "auto" and not is_hidden
        steering = screening.steering_indices if is_hidden else frozenset()
        transcript = write(datamark=is_datamarked, steering=steering)
    is_plain_allowed = form != "scores" and style == "short" and config.view == "as_told"
    if is_plain_allowed and not screening.is_steered and not is_datamarked:
        transcript = show_plainly(
            transcript, group.request, show_reasoning=screening.show_reasoning
        )
    return _Shown(transcript, method_name, is_datamarked)


def _hides(steering: Steering, style: wording.Style) -> bool:
    """Tell whether what addresses the judge is left out of what it sees."""
    return steering == "hide" or (steering == "auto" and style == "short")


async def _choose_method(judge: EndpointJudge, transcript: Transcript, request: RankRequest) -> str:
    """Return the judge's method; for `auto`, the one that suits the group."""
    config = judge.config
    if config.method != "auto":
        return config.method
    context, limits = await judge.context_tokens(), config.budget or BudgetLimits()
    by_words = ""
    if config.is_small and judge.gives_probabilities:
        # Small judges give every attempt of a list the same score, and compare in one letter. With
        # the right answer before them they tell whether an attempt is right far better than that.
        by_words = "yes_no" if request.reference else "best_of"

    def choose(
        count: Callable[[Transcript, Sequence[str]], int], otherwise: str = "listwise"
    ) -> str:
        shared = count(transcript, [transcript.context])

        def overhead(method: str, num_shown: int) -> int:
            system = _system_prompt(config, method, request.rubric, transcript, is_datamarked=True)
            reply = judge.reply_tokens(METHODS[method].form, num_shown, context)
            return shared + estimate_tokens(system) + reply

        return choose_method(
            [count(transcript, [body]) + TOKENS_PER_FENCE for body in transcript.bodies],
            overhead,
            context,
            block_size=config.block_size,
            max_calls=limits.calls or inf,
            max_tokens=limits.tokens or inf,
            by_words=by_words,
            otherwise=otherwise,
        )

    # What fits by a bound needs no count, which takes half as long as validating the group.
    best = prefer_methods(len(transcript.bodies), by_words=by_words)[0]
    return best if choose(bound_shown, otherwise="") == best else choose(estimate_shown)


def _system_prompt(
    config: LLMJudge,
    method: str,
    rubric: str | None,
    transcript: Transcript,
    *,
    is_datamarked: bool,
) -> str:
    """Return the first message of a method's calls; empty if there is nothing to say in it."""
    rubric = rubric or config.rubric
    if transcript.is_plain:
        return "".join(wording.criteria(rubric))
    return wording.instructions(
        METHODS[method].form,
        config.style_for(method),
        rubric,
        explanations=config.explanations,
        view=config.view,
        mark=DATAMARK if is_datamarked else None,
        shows_images=transcript.image_tokens > 0 if transcript.images else None,
    )


def _assumed_noise(run: Run, learned_noise: JudgeNoise | None) -> JudgeNoise | None:
    """Return the noise learned from past groups, or else the noise that the settings state."""
    sd, is_learned = run.config.noise_sd, learned_noise is not None and learned_noise.groups > 0
    return JudgeNoise.from_sd(sd) if sd is not None and not is_learned else learned_noise


def _situation(run: Run, noise: JudgeNoise | None) -> Situation:
    config, passes = run.config, run.config.passes_for(run.method_name)
    if run.method.is_audited:
        passes = plan_audit(passes, config.audit, run.design_key, noise)
    return Situation(
        num_items=len(run.transcript.bodies),
        seed=int(run.design_key[:16], 16),
        passes=passes,
        noise=noise,
        block_size=config.block_size,
    )
