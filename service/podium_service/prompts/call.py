"""Keep an answered call to a judge together: its prompt, the reply and the verdict in it."""

from dataclasses import dataclass

from podium_service.prompts.reply import Reply
from podium_service.prompts.templates import Prompt
from podium_service.prompts.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was answered.

    Attributes:
        prompt: the messages that were sent.
        reply: the judge's answer.
        verdict: the scores in the reply; None if it holds none that can be used.
        fault: the reason why there is no verdict; None if there is one.
        latency_s: seconds until the reply, waiting for an endpoint included.
    """

    prompt: Prompt
    reply: Reply
    verdict: Verdict | None
    fault: str | None
    latency_s: float
