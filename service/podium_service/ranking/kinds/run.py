"""Describe an LLM judge's run over one group, and build its prompts, trimmed to the context."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from podium_service.errors import BudgetExhausted, ContextExceeded
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.errors import ContextOverflow
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts import templates
from podium_service.prompts.defences.canary import make_canary
from podium_service.prompts.templates import Prompt
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.trim import estimate_shown, estimate_tokens, fit
from podium_service.ranking import content_keys
from podium_service.ranking.methods import METHODS, Method, Plan, Situation

TOKENS_PER_FENCE = 64
# What an overflow leaves of a call's tokens, if the endpoint's counts do not tell it.
_LEAVES = 0.75
_MARGIN = 0.95  # below what those counts tell
_MAX_OVERFLOWS, _MAX_PAID = 6, 2  # of one group; those that were answered, and so paid


@dataclass(frozen=True, slots=True)
class Run:
    """One LLM judge's run over one group."""

    judge_name: str  # the judge's name in the judges file
    judge: EndpointJudge
    method_name: str  # the ranking method; never `auto`
    content_key: str  # the key of this content and judge in the store
    design_key: str  # the same key for each order of the lists: it seeds the method's design
    judge_key: str  # the key of the judge as far as its noise is concerned
    system: str  # the system prompt
    is_datamarked: bool  # whether the spaces inside trajectories are marked
    transcript: Transcript
    request_context: RequestContext  # the client that asks, and what it has spent

    @property
    def method(self) -> Method:
        return METHODS[self.method_name]

    @property
    def is_flipped(self) -> bool:
        return self.content_key != self.design_key

    def plan(self, situation: Situation) -> Plan:
        """Return the method's next questions, with each list in reverse if the run is flipped."""
        plan = self.method.plan(situation)
        return {index: order[::-1] for index, order in plan.items()} if self.is_flipped else plan

    def require_calls(self, situation: Situation, calls_left: float) -> None:
        """Check that so many calls suffice for a ranking.

        Raises:
            BudgetExhausted: If they do not.
        """
        needed = self.method.min_calls(situation) - len(situation.verdicts)
        if calls_left < needed:
            raise BudgetExhausted(
                f"{self.config.budget} holds {calls_left:g} calls, and {needed} are needed to rank "
                f"{situation.num_items} trajectories: raise it, or choose another method"
            )

    def question_key(self, index: int, order: Sequence[int]) -> str | None:
        """Return the key under which other groups find the answer; None if it is of no use there.

        Args:
            index, order: of the question, as in the method's plan.
        """
        if not self.method.is_absolute:
            return None
        number = index // len(self.transcript.bodies)
        return content_keys.question_key(
            self.config, self.method_name, self.system, self.transcript, order[0], number
        )

    @property
    def config(self) -> LLMJudge:
        return self.judge.config


class CallPrompts:
    """The prompts of one run. All prompts that show the same bodies are trimmed alike."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._max_context = inf  # tokens of a call, prompt and reply, after an overflow
        self._num_overflows = self._num_paid = 0
        # What was sent since the last overflow, with the tokens of its calls beside the transcript.
        self._trimmed: dict[tuple[int, ...], tuple[Transcript, int]] = {}

    async def build(self, order: list[int]) -> tuple[Prompt, int]:
        """Return a prompt that shows the bodies in this order, and its reply's token cap."""
        run = self._run
        num_shown, reply_tokens, context = await self._call_size(len(order))
        overhead = estimate_tokens(run.system) + TOKENS_PER_FENCE * (num_shown + 1)
        transcript = self._trim(order, context, reply_tokens + overhead)
        form, style = run.method.form, run.config.style_for(run.method_name)
        canary = self._make_canary() if form == "scores" else None
        prompt = templates.build_prompt(form, style, run.system, transcript, order, canary)
        return prompt, reply_tokens

    def _make_canary(self) -> str | None:
        config = self._run.config
        actions_first, datamarked = config.view == "actions_first", self._run.is_datamarked
        if not config.canary:
            return None
        return make_canary(actions_first=actions_first, datamarked=datamarked)

    def shrink(self, overflow: ContextOverflow) -> None:
        """Make the next calls smaller than those that were sent, after one overflowed the context.

        Nothing is to be done here if the overflow has told the judge how large its context is.

        Raises:
            ContextExceeded: If that was done several times already.
        """
        if self._num_overflows == _MAX_OVERFLOWS or self._num_paid == _MAX_PAID:
            raise ContextExceeded(
                f"even trimmed {self._num_overflows} times the group is too long: {overflow}"
            ) from overflow
        self._num_overflows += 1
        self._num_paid += overflow.was_paid
        if not overflow.is_learnt:
            sent_tokens = self._estimate_sent()
            self._max_context = int(_share_left(overflow, sent_tokens) * sent_tokens)
        self._trimmed.clear()

    async def worst_tokens(self, situation: Situation) -> int:
        """Return a bound on the tokens of any call; 1 where the budget does not count tokens."""
        run = self._run
        if run.config.budget is None or run.config.budget.tokens is None:
            return 1
        num_bodies = run.method.call_size(situation)
        num_shown, reply, context = await self._call_size(num_bodies)
        transcript = run.transcript
        sizes = (estimate_shown(transcript, [body]) for body in transcript.bodies)
        bodies = sorted(sizes, reverse=True)[:num_bodies]
        texts = estimate_tokens(run.system) + estimate_shown(transcript, [transcript.context])
        return min(context, texts + sum(bodies) + TOKENS_PER_FENCE * (num_shown + 2) + reply)

    async def _call_size(self, num_bodies: int) -> tuple[int, int, int]:
        """Return the number of texts that a call shows, its reply's token cap, and the context."""
        judge, form = self._run.judge, self._run.method.form
        num_shown = num_bodies + int(judge.config.canary and form == "scores")
        context = int(min(await judge.context_tokens(), self._max_context))
        return num_shown, judge.reply_tokens(form, num_shown, context), context

    def _trim(self, order: list[int], context: int, tokens_beside: int) -> Transcript:
        """Return the transcript with these bodies cut to fit a context with something beside it."""
        bodies = tuple(sorted(order))
        if bodies not in self._trimmed:
            trimmed = fit(self._run.transcript, context - tokens_beside, bodies)
            self._trimmed[bodies] = trimmed, tokens_beside
        return self._trimmed[bodies][0]

    def _estimate_sent(self) -> int:
        """Estimate the tokens of the largest call since the last overflow."""
        sent = 0
        for bodies, (transcript, tokens_beside) in self._trimmed.items():
            texts = [transcript.context, *(transcript.bodies[body] for body in bodies)]
            sent = max(sent, sum(map(estimate_tokens, texts)) + tokens_beside)
        return sent


def _share_left(overflow: ContextOverflow, sent_tokens: int) -> float:
    """Return which share of the tokens that a call had the next one may have.

    An endpoint's counts are taken only if its count of what was sent is like ours.
    """
    limit, counted = overflow.limit_tokens, overflow.counted_tokens
    if limit and counted and sent_tokens / 3 < counted < 3 * sent_tokens:
        return max(1 - _LEAVES, min(1.0, limit / counted) * _MARGIN)
    return _LEAVES
