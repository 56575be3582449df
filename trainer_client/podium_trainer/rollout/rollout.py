"""Prompts → groups of attempts: sample, run tools, append, until everyone is done.

All open attempts of a call go through their turns side by side. A tool's result becomes tokens
after the sampled ones; nothing that was sampled is ever tokenised again.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.samples import Attempt, Completion, FinishReason, Request, Sample
from podium_trainer.policy.tool_calls import BadToolCall, ToolCall
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.samplers import Sampler
from podium_trainer.tasks.task import Message, Prompt, Task

MAX_THREADS = 64


class PromptTooLong(ValueError):
    """A prompt leaves no room for a completion."""


@dataclass
class _Conversation:
    """One attempt while it goes on.

    Attributes:
        messages: as the judge will read them, tool calls parsed.
        raw_messages: as the template renders them, completions verbatim.
        stream: the tokens of the sample that is growing.
        done: samples that a rewritten prompt closed.
        calls: what the last completion called.
    """

    prompt: Prompt
    messages: list[Message]
    raw_messages: list[Message]
    stream: Sample
    done: list[Sample] = field(default_factory=list)
    calls: list[ToolCall | BadToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    num_turns: int = 0
    is_open: bool = True

    def calls_by_id(self) -> list[tuple[str, ToolCall | BadToolCall]]:
        """The last completion's calls with ids that no other turn uses."""
        return [(f"call_{self.num_turns}_{n}", call) for n, call in enumerate(self.calls)]

    def attempt(self) -> Attempt:
        assert self.finish_reason is not None
        samples = [*self.done, self.stream]
        return Attempt(self.messages, samples, self.finish_reason, self.num_turns)


class Rollout:
    """Plays a task with a sampler.

    Args:
        task: prompts' tools and turns.
        chat: the policy's tokenizer and template.
        sampler: where completions come from.
        tools: runs the tools' functions.
        max_tokens: the most tokens of one completion.
        context: the most tokens of a whole conversation.
    """

    def __init__(
        self,
        task: Task,
        chat: Chat,
        sampler: Sampler,
        tools: ToolRunner,
        *,
        max_tokens: int,
        context: int,
    ) -> None:
        self.task = task
        self.chat = chat
        self.sampler = sampler
        self.tools = tools
        self.max_tokens = max_tokens
        self.context = context
        self.definitions = [tool.definition() for tool in task.tools]

    def play(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        *,
        seed: str,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[Attempt]]:
        """`group_size` attempts at each prompt.

        Args:
            seed: decides the draws, together with the turn.
            on_progress: called with (groups done, groups in all).

        Raises:
            SamplerError: If the sampler fails for good.
            PromptTooLong: If a prompt leaves no room for a completion.
        """
        if not prompts:
            return []
        if self.sampler.in_lockstep:
            groups = self._play_together(prompts, group_size, seed)
            on_progress(len(groups), len(groups))
            return groups
        done = 0

        def play_one(prompt: Prompt) -> list[Attempt]:
            nonlocal done
            [group] = self._play_together([prompt], group_size, f"{seed}/{prompt.id}")
            done += 1
            on_progress(done, len(prompts))
            return group

        threads = ThreadPoolExecutor(min(MAX_THREADS, len(prompts)))
        try:
            return list(threads.map(play_one, prompts))
        finally:  # on an error or ctrl-C the others are not waited for
            threads.shutdown(wait=False, cancel_futures=True)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """A prompt's tokens.

        Raises:
            PromptTooLong: If they leave no room for a completion.
        """
        ids = self.chat.encode(self.chat.render(prompt.messages, self.definitions or None))
        if len(ids) + self.max_tokens > self.context:
            raise PromptTooLong(
                f"prompt {prompt.id!r} has {len(ids)} tokens, which with sampler.max_tokens"
                f" {self.max_tokens} exceeds the context of {self.context}: shorten it or lower"
                " sampler.max_tokens"
            )
        return ids

    def _play_together(
        self, prompts: Sequence[Prompt], group_size: int, seed: str
    ) -> list[list[Attempt]]:
        requests = [Request(self.prompt_ids(p), group_size, self.max_tokens) for p in prompts]
        groups = []
        drawn = self.sampler.sample(requests, seed=seed_number(f"{seed}/0"))
        for prompt, request, completions in zip(prompts, requests, drawn, strict=True):
            group = [open_conversation(prompt, request.prompt_ids) for _ in completions]
            for conversation, completion in zip(group, completions, strict=True):
                self._hear(conversation, completion)
            groups.append(group)
        turn = 1
        while talking := [c for group in groups for c in group if c.is_open]:
            self._answer_calls(talking)
            talking = [c for c in talking if c.is_open]
            requests = [Request(c.stream.token_ids, 1, self.max_tokens) for c in talking]
            if requests:
                drawn = self.sampler.sample(requests, seed=seed_number(f"{seed}/{turn}"))
                for conversation, [completion] in zip(talking, drawn, strict=True):
                    self._hear(conversation, completion)
            turn += 1
        return [[conversation.attempt() for conversation in group] for group in groups]

    def _hear(self, conversation: _Conversation, completion: Completion) -> None:
        """Take a completion in: tokens, messages, and whether the attempt goes on."""
        conversation.stream = with_completion(conversation.stream, completion)
        conversation.finish_reason = completion.finish_reason
        conversation.num_turns += 1
        text = self.chat.decode_completion(completion.token_ids)
        conversation.raw_messages.append({"role": "assistant", "content": text})
        conversation.calls = self._read_calls(text)
        conversation.messages.append(self._assistant_message(conversation, text))
        conversation.is_open = (
            bool(conversation.calls)
            and completion.finish_reason == "stop"
            and conversation.num_turns < self.task.max_turns
        )

    def _read_calls(self, text: str) -> list[ToolCall | BadToolCall]:
        """The calls in a completion; one that cannot be read stands for itself."""
        if not self.task.tools:
            return []
        try:
            return list(self.chat.tool_format.parse(text))
        except BadToolCall as error:
            return [error]

    def _assistant_message(self, conversation: _Conversation, text: str) -> Message:
        """A completion as an OpenAI chat message, its calls apart from its text."""
        if not conversation.calls:
            return {"role": "assistant", "content": text}
        tool_calls = [
            {"id": call_id, "type": "function", "function": described(call, text)}
            for call_id, call in conversation.calls_by_id()
        ]
        content = self.chat.tool_format.remove_calls(text)
        return {"role": "assistant", "content": content or None, "tool_calls": tool_calls}

    def _answer_calls(self, talking: Sequence[_Conversation]) -> None:
        """Run every open call, then lead each conversation to its next prompt."""
        readable = [call for c in talking for call in c.calls if isinstance(call, ToolCall)]
        results = iter(self.tools.run_all(readable))
        for conversation in talking:
            for call_id, call in conversation.calls_by_id():
                text = f"error: {call}" if isinstance(call, BadToolCall) else next(results)
                message = {"role": "tool", "content": self.chat.break_control_tokens(text)}
                conversation.raw_messages.append(message)
                conversation.messages.append({**message, "tool_call_id": call_id})
            self._lead_on(conversation)

    def _lead_on(self, conversation: _Conversation) -> None:
        """Extend the stream to the next prompt; a rewritten history starts a new sample.

        Without room for another completion the attempt ends as it is: what would be added, such as
        a long tool result, may exceed what the model can read.
        """
        rendered = self.chat.render(conversation.raw_messages, self.definitions or None)
        old = conversation.stream
        added = self.chat.encode_continuation(old.token_ids, rendered)
        new = (
            prompt_sample(self.chat.encode(rendered)) if added is None else with_prompt(old, added)
        )
        conversation.is_open = len(new.token_ids) + self.max_tokens <= self.context
        if conversation.is_open:
            conversation.stream = new
            conversation.done += [old] if added is None else []


def open_conversation(prompt: Prompt, prompt_ids: Sequence[int]) -> _Conversation:
    messages = list(prompt.messages)
    return _Conversation(prompt, messages, list(messages), prompt_sample(prompt_ids))


def prompt_sample(token_ids: Sequence[int]) -> Sample:
    """A stream with nothing sampled yet."""
    return with_prompt(Sample([], [], [], [], []), token_ids)


def with_prompt(sample: Sample, token_ids: Sequence[int]) -> Sample:
    """The stream with tokens that the policy did not sample."""
    count = len(token_ids)
    return Sample(
        [*sample.token_ids, *token_ids],
        [*sample.loss_mask, *[False] * count],
        [*sample.behavior_logprobs, *[0.0] * count],
        [*sample.advantages, *[0.0] * count],
        [*sample.policy_versions, *[-1] * count],
    )


def with_completion(sample: Sample, completion: Completion) -> Sample:
    """The stream with a sampled turn."""
    count = len(completion.token_ids)
    return Sample(
        [*sample.token_ids, *completion.token_ids],
        [*sample.loss_mask, *[True] * count],
        [*sample.behavior_logprobs, *completion.logprobs],
        [*sample.advantages, *[0.0] * count],
        [*sample.policy_versions, *completion.policy_versions],
    )


def described(call: ToolCall | BadToolCall, text: str) -> dict[str, str]:
    """A call's name and arguments; one that could not be read shows what was written."""
    if isinstance(call, BadToolCall):
        return {"name": "unreadable", "arguments": json.dumps({"text": text})}
    return {"name": call.name, "arguments": call.arguments_json()}


def seed_number(text: str) -> int:
    """A seed from words, the same in every process."""
    return zlib.crc32(text.encode())
