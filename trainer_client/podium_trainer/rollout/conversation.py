"""Hold one attempt while it is being sampled: its messages, its tokens and its open tool calls.

    start ──► open ──(completion)──► to answer ──(results; room for a completion)──► open
                          │                │
                          │ no calls and   │ done, failed, max_turns, or
                          │ no environment,│ no room for another completion
                          │ or cut off     ▼
                          └────────────► closed ──► attempt()

`Rollout` moves conversations between these states.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from podium_trainer.policy.reasoning import Turn
from podium_trainer.policy.samples import Attempt, FinishReason, Sample, start_sample
from podium_trainer.policy.tool_calls import BadToolCall, ToolCall, ToolFormat
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
        reward: the sum of the rewards of its environment so far; None if there was none.
        error: why the attempt failed through no fault of the model; None if it did not.
    """

    messages: list[Message]
    raw_messages: list[Message]
    sample: Sample
    finished_samples: list[Sample] = field(default_factory=list)
    calls: list[ToolCall | BadToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    num_turns: int = 0
    is_open: bool = True
    reward: float | None = None
    error: str | None = None

    def fail(self, reason: str) -> None:
        """Close the attempt, which will not count."""
        self.error = reason
        self.is_open = False

    def add(self, messages: Sequence[Message]) -> None:
        """Add what is said to the model; no template reads more than the role and the content."""
        self.messages += messages
        self.raw_messages += [{"role": m["role"], "content": m["content"]} for m in messages]

    def calls_by_id(self) -> list[tuple[str, ToolCall | BadToolCall]]:
        """Return the last completion's calls with ids that no other turn uses."""
        return [(f"call_{self.num_turns}_{n}", call) for n, call in enumerate(self.calls)]

    def attempt(self) -> Attempt:
        """Return the trajectory so far; there must be a completion."""
        assert self.finish_reason is not None
        samples = [*self.finished_samples, self.sample]
        return Attempt(self.messages, samples, self.finish_reason, self.num_turns, self.reward)


def start_conversation(prompt: Prompt, prompt_ids: Sequence[int]) -> Conversation:
    """Start an attempt at a prompt, given the prompt's tokens."""
    return Conversation(list(prompt.messages), list(prompt.messages), start_sample(prompt_ids))


def share_prompts(groups: Sequence[Sequence[Conversation]]) -> list[list[Conversation]]:
    """Return the open conversations in lists; those of a list are of a group and begin alike."""
    sharers: list[list[Conversation]] = []
    for group in groups:
        by_prompt: dict[tuple[int, ...], list[Conversation]] = {}
        for conversation in group:
            if conversation.is_open:
                by_prompt.setdefault(tuple(conversation.sample.token_ids), []).append(conversation)
        sharers += by_prompt.values()
    return sharers


def assistant_message(conversation: Conversation, turn: Turn, tool_format: ToolFormat) -> Message:
    """Write the last completion as an OpenAI message: thoughts and calls apart from the text."""
    thoughts = {"reasoning_content": turn.thoughts} if turn.thoughts else {}
    if not conversation.calls:
        return {"role": "assistant", "content": turn.answer, **thoughts}
    tool_calls = [
        {"id": call_id, "type": "function", "function": describe_call(call, turn.answer)}
        for call_id, call in conversation.calls_by_id()
    ]
    content = tool_format.remove_calls(turn.answer) or None
    return {"role": "assistant", "content": content, "tool_calls": tool_calls, **thoughts}


def describe_call(call: ToolCall | BadToolCall, completion_text: str) -> dict[str, str]:
    """Write a call as OpenAI messages do; an unreadable one quotes the whole completion."""
    if isinstance(call, BadToolCall):
        return {"name": "unreadable", "arguments": json.dumps({"text": completion_text})}
    return {"name": call.name, "arguments": call.arguments_json()}
