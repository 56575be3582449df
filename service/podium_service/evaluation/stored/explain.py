"""Ask a judge to put a stored verdict into words.

Judges are not asked to explain each verdict, because words cost most of a reply and make no verdict
better. For one ranking that a person wants to understand, the judge is shown its own call again and
asked why. The words come after the verdict and change nothing.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from podium_service.errors import ConfigError, NotFound
from podium_service.judges.llm_judge import EndpointJudge
from podium_service.judges.registry import JudgeRegistry
from podium_service.judges.settings import LLMJudge
from podium_service.prompts.message_parts.images import Part, read_content, to_parts
from podium_service.prompts.templates import Prompt
from podium_service.schemas import Message
from podium_service.schemas.history import CallView, SentGroup
from podium_service.store.history.reader import PastRanking
from podium_service.store.quotas.quota_service import QuotaService
from podium_service.telemetry.metrics import Metrics

_QUESTION = (
    "Why? Explain in one sentence for each {what} what is good or bad about it. Keep your verdict."
)
_TOKENS_OF_ONE, _TOKENS_FOR_REASONING = 80, 4096
_BEGINNING_CHARS = 60
_FENCE = re.compile(r'\n<(?:trajectory|response)-\w+ id="')


@dataclass(frozen=True, slots=True)
class Words:
    """A judge's words about one call.

    Attributes:
        shown: how the last message of each trajectory of the call begins, by the id it was shown
            under.
        verdict: the judge's reply to the call.
        text: the reason it gives now.
        tokens: what it took, prompt and reply.
    """

    shown: dict[str, str]
    verdict: str
    text: str
    tokens: int


def choose_calls(calls: Sequence[CallView]) -> list[CallView]:
    """Return the first calls with a verdict that together show every trajectory.

    Raises:
        NotFound: If no call has a verdict and a prompt.
    """
    chosen, seen = [], set[str]()
    for call in calls:
        if call.order and call.messages and not seen >= set(call.order):
            chosen.append(call)
            seen |= set(call.order)
    if not chosen:
        raise NotFound(
            "no LLM was asked about this ranking, or its prompts were not kept, so that there is "
            "nothing to explain"
        )
    return chosen


async def explain_calls(
    judges: JudgeRegistry,
    metrics: Metrics,
    past: PastRanking,
    judge: str | None = None,
    quotas: QuotaService | None = None,
) -> list[Words]:
    """Ask a judge why it gave the verdicts of a stored ranking.

    Args:
        judges: the judges of the judges file.
        metrics: where the calls are counted.
        past: the ranking.
        judge: the name of an LLM judge; None for the one that gave the verdicts.
        quotas: what counts the calls against the judge's `spend`; None for no limit.

    Raises:
        NotFound: If no LLM was asked.
        PodiumError: If the judge is none of the judges file, no LLM, or fails.
    """
    chosen = choose_calls(past.calls)
    name = judge or chosen[0].judge
    judges.roster.chain(name)
    settings = judges.roster.config.judges[name]
    if not isinstance(settings, LLMJudge):
        raise ConfigError(f"--judge {name}: is no LLM ({settings.kind}): name one")
    beginnings = _beginnings(past.detail.request)
    prose = settings.model_copy(update={"response_format": "text"})
    async with aclosing(EndpointJudge(name, prose, metrics, quotas)) as asked:
        return [await explain(asked, call, beginnings) for call in chosen]


async def explain(judge: EndpointJudge, call: CallView, beginnings: Mapping[str, str]) -> Words:
    """Ask a judge why it gave the verdict of a stored call; raises as `EndpointJudge.reply`.

    Args:
        beginnings: how trajectories begin, by ids of the client.
    """
    image_tokens = judge.config.image_tokens
    messages = [(m["role"], to_parts(m["content"], image_tokens)) for m in call.messages]
    prompt = next(m["content"] for m in call.messages if m["role"] == "user")
    is_fenced = _FENCE.search(read_content(prompt)[0])
    question: list[Part] = [_QUESTION.format(what="trajectory" if is_fenced else "answer")]
    turns = [("assistant", list[Part]([call.reply])), ("user", question)]
    ids = [*call.shown_ids]
    asked = Prompt("scores", [*messages, *turns], ids, [*range(len(ids))])
    reply = await judge.reply(asked, len(ids) * _TOKENS_OF_ONE + _TOKENS_FOR_REASONING)
    shown = {
        shown_id: beginnings[name]
        for shown_id, name in call.shown_ids.items()
        if name in beginnings
    }
    tokens = reply.tokens.prompt + reply.tokens.completion
    return Words(shown, call.reply, reply.text.strip(), tokens)


def _beginnings(group: SentGroup | None) -> dict[str, str]:
    """Return how the last message of each trajectory begins, by its id."""
    found = {}
    for trajectory in group.trajectories if group else ():
        texts = [Message.model_validate(each).text for each in trajectory.messages[-1:]]
        found[trajectory.id] = " ".join("".join(texts).split())[:_BEGINNING_CHARS]
    return found
