"""Hold one attempt while it is being sampled: its messages, its tokens and its open tool calls.

    start ──► open ──(completion)──► calls to run ──(results; room for a completion)──► open
                          │                │
                          │ no calls,      │ no room for
                          │ cut off or     │ another completion
                          │ max_turns      ▼
                          └────────────► closed ──► attempt()

`Rollout` moves conversations between these states.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from podium_trainer.policy.samples import Attempt, FinishReason, Sample, start_sample
from podium_trainer.policy.tool_calls import BadToolCall, ToolCall
from podium_trainer.tasks.task import Message, Prompt


@dataclass
class Conversation:
    """One attempt that may still be open.

    Attributes:
        messages: for the judge, with tool calls parsed.
        raw_messages: for the chat template, with completions verbatim.
        sample: the sample that is growing.
        finished_samples: samples that ended because the template rewrote earlier turns.
        calls: the tool calls of the last completion.
        finish_reason: the finish reason of the last completion; "length" if there is no turn or no
            room for another one that it asked for.
        num_turns: the number of completions so far.
        is_open: whether another completion will be sampled.
    """

    messages: list[Message]
    raw_messages: list[Message]
    sample: Sample
    finished_samples: list[Sample] = field(default_factory=list)
    calls: list[ToolCall | BadToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    num_turns: int = 0
    is_open: bool = True

    def calls_by_id(self) -> list[tuple[str, ToolCall | BadToolCall]]:
        """Return the last completion's calls with ids that no other turn uses."""
        return [(f"call_{self.num_turns}_{n}", call) for n, call in enumerate(self.calls)]

    def attempt(self) -> Attempt:
        """Return the trajectory so far; there must be a completion."""
        assert self.finish_reason is not None
        samples = [*self.finished_samples, self.sample]
        return Attempt(self.messages, samples, self.finish_reason, self.num_turns)


def start_conversation(prompt: Prompt, prompt_ids: Sequence[int]) -> Conversation:
    """Start an attempt at a prompt, given the prompt's tokens."""
    return Conversation(list(prompt.messages), list(prompt.messages), start_sample(prompt_ids))


def describe_call(call: ToolCall | BadToolCall, completion_text: str) -> dict[str, str]:
    """Write a call as OpenAI messages do; an unreadable one quotes the whole completion."""
    if isinstance(call, BadToolCall):
        return {"name": "unreadable", "arguments": json.dumps({"text": completion_text})}
    return {"name": call.name, "arguments": call.arguments_json()}
