"""Describe an LLM judge's run over one group, and build its prompts, trimmed to the context."""

from collections.abc import Sequence
from dataclasses import dataclass

from podium_service.errors import ContextExceeded
from podium_service.judges.dispatch.request_context import RequestContext
from podium_service.judges.endpoint.errors import ContextOverflow
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.settings import LLMJudge
from podium_service.prompts import templates
from podium_service.prompts.defences.canary import make_canary
from podium_service.prompts.templates import Prompt
from podium_service.prompts.transcript import Transcript
from podium_service.prompts.trim import estimate_tokens, fit
from podium_service.ranking import content_keys
from podium_service.ranking.methods import METHODS, Method, Situation

TOKENS_PER_FENCE = 64
# Shares of the judge's context that prompts may fill; each overflow moves on to the next share.
_CONTEXT_SHARES = (1.0, 0.75, 0.5)


@dataclass(frozen=True, slots=True)
class Run:
    """One LLM judge's run over one group."""

    judge_name: str  # the judge's name in the judges file
    judge: EndpointJudge
    method_name: str  # the ranking method; never `auto`
    content_key: str  # the key of this content and judge in the store
    judge_key: str  # the key of the judge as far as its noise is concerned
    system: str  # the system prompt
    is_datamarked: bool  # whether the spaces inside trajectories are marked
    transcript: Transcript
    request_context: RequestContext  # the client that asks, and what it has spent

    @property
    def method(self) -> Method:
        return METHODS[self.method_name]

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
        self._shares = [*_CONTEXT_SHARES]
        self._trimmed_transcripts: dict[tuple[int, ...], Transcript] = {}

    async def build(self, order: list[int]) -> tuple[Prompt, int]:
        """Return a prompt that shows the bodies in this order, and its reply's token cap."""
        run = self._run
        num_shown, reply_tokens, context = await self._call_size(len(order))
        overhead = estimate_tokens(run.system) + TOKENS_PER_FENCE * (num_shown + 1)
        transcript = self._trim(order, context - reply_tokens - overhead)
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
        """Trim the next prompts further, after one overflowed the context.

        Raises:
            ContextExceeded: If prompts are trimmed to half the context already.
        """
        self._trimmed_transcripts.clear()
        del self._shares[0]
        if not self._shares:
            detail = f"even trimmed to half the group is too long: {overflow}"
            raise ContextExceeded(detail) from overflow

    async def worst_tokens(self, situation: Situation) -> int:
        """Return a bound on the tokens of any call; 1 where the budget does not count tokens."""
        run = self._run
        if run.config.budget is None or run.config.budget.tokens is None:
            return 1
        num_bodies = run.method.call_size(situation)
        num_shown, reply, context = await self._call_size(num_bodies)
        bodies = sorted(map(estimate_tokens, run.transcript.bodies), reverse=True)[:num_bodies]
        texts = estimate_tokens(run.system) + estimate_tokens(run.transcript.context)
        return min(context, texts + sum(bodies) + TOKENS_PER_FENCE * (num_shown + 2) + reply)

    async def _call_size(self, num_bodies: int) -> tuple[int, int, int]:
        """Return the number of texts that a call shows, its reply's token cap, and the context."""
        judge, form = self._run.judge, self._run.method.form
        num_shown = num_bodies + int(judge.config.canary and form == "scores")
        context = await judge.context_tokens()
        return num_shown, judge.reply_tokens(form, num_shown, context), context

    def _trim(self, order: list[int], max_tokens: int) -> Transcript:
        bodies = tuple(sorted(order))
        if bodies not in self._trimmed_transcripts:
            tokens = int(self._shares[0] * max_tokens)
            self._trimmed_transcripts[bodies] = fit(self._run.transcript, tokens, bodies)
        return self._trimmed_transcripts[bodies]
