"""One answered call to a judge: the prompt, the reply and the verdict read from it."""

from dataclasses import dataclass

from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call: what was asked, what came back, and what it was worth."""

    prompt: Prompt
    reply: Reply
    verdict: Verdict | None
    fault: str | None
    latency_s: float
