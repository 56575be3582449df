"""Sample groups of attempts at prompts, turn by turn, with tools and environments.

All open conversations of a call take their turns side by side. What a tool or an environment says
becomes tokens after the sampled ones, and no sampled token is ever tokenized again.
"""

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.reasoning import Turn
from podium_trainer.policy.samples import (
    Attempt,
    Completion,
    Request,
    Sample,
    append_completion,
    append_prompt,
    start_sample,
)
from podium_trainer.policy.tool_calls import BadToolCall, ToolCall
from podium_trainer.rollout.conversation import (
    Conversation,
    describe_call,
    share_prompts,
    start_conversation,
)
from podium_trainer.rollout.environments.environments import Environments
from podium_trainer.rollout.failures import attempts_of
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.rollout.world import World
from podium_trainer.samplers import Sampler, SamplingFailed
from podium_trainer.tasks.task import Message, Prompt, Task

MAX_THREADS = 64


class PromptTooLong(ValueError):
    """A prompt leaves no room for a completion."""


class Rollout:
    """Samples attempts at the prompts of a task.

    Args:
        task: its tools and its number of turns are used, not its prompts.
        chat: the policy's tokenizer and chat template.
        sampler: draws the completions.
        tools: runs the task's tools.
        environments: gives each attempt its environment; None for a task without.
        max_tokens: the largest number of tokens in one completion.
        context: the largest number of tokens in a whole conversation.
    """

    def __init__(
        self,
        task: Task,
        chat: Chat,
        sampler: Sampler,
        tools: ToolRunner,
        *,
        environments: Environments | None = None,
        max_tokens: int,
        context: int,
    ) -> None:
        self.task = task
        self.chat = chat
        self.sampler = sampler
        self.world = World(task, chat, tools, environments)
        self.max_tokens = max_tokens
        self.context = context
        self.definitions = [tool.definition() for tool in task.tools]

    def sample_groups(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        *,
        seed: str,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[Attempt]]:
        """Sample `group_size` attempts at each of P prompts.

        Args:
            prompts: any number of prompts.
            group_size: the number of attempts at each.
            seed: decides the draws, together with the turn.
            on_progress: called with (groups done, groups in all).

        Returns:
            P lists of `group_size` attempts, in the order of the prompts. Attempts whose
            environment failed are left out.

        Raises:
            SamplerError: If the sampler fails for any prompt, or fewer than two attempts are left.
            PromptTooLong: If a prompt leaves no room for a completion.
        """
        groups = self.try_groups(prompts, group_size, seed=seed, on_progress=on_progress)
        for group in groups:
            if isinstance(group, SamplingFailed):
                raise group
        return [group for group in groups if not isinstance(group, SamplingFailed)]

    def try_groups(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        *,
        seed: str,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[list[Attempt] | SamplingFailed]:
        """Sample as `sample_groups` does, with the failure of a group in its place.

        Raises:
            SamplerError: If the sampler fails for good.
            PromptTooLong: If a prompt leaves no room for a completion.
        """
        if not prompts:
            return []
        if not self.sampler.in_lockstep:
            return self._sample_apart(prompts, group_size, seed, on_progress)
        try:
            groups = self._sample_together(prompts, group_size, seed)
        except SamplingFailed:  # one of them is at fault, and the others must not suffer
            groups = [self._try_group(prompt, group_size, seed) for prompt in prompts]
        on_progress(len(groups), len(groups))
        return groups

    def _sample_apart(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        seed: str,
        on_progress: Callable[[int, int], None],
    ) -> list[list[Attempt] | SamplingFailed]:
        """Take the attempts at each prompt through their turns in a thread of their own."""
        num_done = 0

        def sample_group(prompt: Prompt) -> list[Attempt] | SamplingFailed:
            nonlocal num_done
            group = self._try_group(prompt, group_size, seed)
            num_done += 1
            on_progress(num_done, len(prompts))
            return group

        threads = ThreadPoolExecutor(min(MAX_THREADS, len(prompts)))
        try:
            return list(threads.map(sample_group, prompts))
        finally:  # after an error or ctrl-C nobody needs the other groups, so do not wait for them
            threads.shutdown(wait=False, cancel_futures=True)

    def _try_group(
        self, prompt: Prompt, group_size: int, seed: str
    ) -> list[Attempt] | SamplingFailed:
        """Sample the attempts at one prompt, or return their failure."""
        try:
            [group] = self._sample_together([prompt], group_size, f"{seed}/{prompt.id}")
        except SamplingFailed as error:
            return error
        return group

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return a prompt's tokens.

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

    def _sample_together(
        self, prompts: Sequence[Prompt], group_size: int, seed: str
    ) -> list[list[Attempt] | SamplingFailed]:
        """Take all attempts at some prompts through their turns side by side."""
        groups = []
        for prompt in prompts:
            ids = self.prompt_ids(prompt)
            groups.append([start_conversation(prompt, ids) for _ in range(group_size)])
        members = [conversation for group in groups for conversation in group]
        try:
            self._reset(members, [prompt for prompt in prompts for _ in range(group_size)])
            self._sample(share_prompts(groups), f"{seed}/0")
            turn = 1
            while open_conversations := [c for c in members if c.is_open]:
                self._answer(open_conversations)
                self._sample([[c] for c in members if c.is_open], f"{seed}/{turn}")
                turn += 1
        finally:
            self.world.close(members)
        return [attempts_of(group) for group in groups]

    def _reset(self, conversations: Sequence[Conversation], prompts: Sequence[Prompt]) -> None:
        """Give each conversation its environment, and start its sample anew if that says more."""
        for conversation in self.world.reset(conversations, prompts):
            conversation.sample = start_sample(self.chat.encode(self._render(conversation)))
            if not self._has_room(conversation.sample):
                conversation.fail("reset returned so much that no completion has room")

    def _sample(self, sharers: Sequence[Sequence[Conversation]], seed: str) -> None:
        """Sample one completion for each conversation; those of a list share their prompt."""
        if not sharers:
            return
        requests = [
            Request(same[0].sample.token_ids, len(same), self.max_tokens) for same in sharers
        ]
        drawn = self.sampler.sample(requests, seed=hash_seed(seed))
        for same, completions in zip(sharers, drawn, strict=True):
            for conversation, completion in zip(same, completions, strict=True):
                self._append_completion(conversation, completion)

    def _append_completion(self, conversation: Conversation, completion: Completion) -> None:
        """Add a completion's tokens and messages, and decide whether the attempt stays open."""
        text, turn = self.chat.read_turn(conversation.sample.token_ids, completion.token_ids)
        conversation.sample = append_completion(conversation.sample, completion)
        conversation.finish_reason = completion.finish_reason
        conversation.num_turns += 1
        conversation.raw_messages.append({"role": "assistant", "content": text})
        conversation.calls = self._parse_calls(turn.answer)
        conversation.messages.append(self._assistant_message(conversation, turn))
        is_last = conversation.num_turns >= self.task.max_turns
        asks_tools = self.world.asks_tools(conversation)
        conversation.is_open = completion.finish_reason == "stop" and (
            not is_last if asks_tools else self.world.answers_texts
        )
        if asks_tools and is_last:
            conversation.finish_reason = "length"

    def _parse_calls(self, text: str) -> list[ToolCall | BadToolCall]:
        """Parse a completion's calls; one unreadable call is returned alone, as its error."""
        if not self.task.tools:
            return []
        try:
            return list(self.chat.tool_format.parse(text))
        except BadToolCall as error:
            return [error]

    def _assistant_message(self, conversation: Conversation, turn: Turn) -> Message:
        """Write a completion as an OpenAI chat message: thoughts and calls apart from the text."""
        thoughts = {"reasoning_content": turn.thoughts} if turn.thoughts else {}
        if not conversation.calls:
            return {"role": "assistant", "content": turn.answer, **thoughts}
        tool_calls = [
            {"id": call_id, "type": "function", "function": describe_call(call, turn.answer)}
            for call_id, call in conversation.calls_by_id()
        ]
        content = self.chat.tool_format.remove_calls(turn.answer) or None
        return {"role": "assistant", "content": content, "tool_calls": tool_calls, **thoughts}

    def _answer(self, conversations: Sequence[Conversation]) -> None:
        """Answer the last completions, and extend the prompts."""
        self.world.answer(conversations)
        for conversation in conversations:
            if conversation.is_open:
                self._extend_prompt(conversation)
        self.world.close([c for c in conversations if not c.is_open])

    def _render(self, conversation: Conversation) -> str:
        return self.chat.render(conversation.raw_messages, self.definitions or None)

    def _has_room(self, sample: Sample) -> bool:
        """Return whether the context has room for another completion."""
        return len(sample.token_ids) + self.max_tokens <= self.context

    def _extend_prompt(self, conversation: Conversation) -> None:
        """Extend a conversation's sample to its next prompt, or close the conversation.

        If the template rewrote earlier turns, a new sample starts. Without room for another
        completion the attempt is cut off and its sample stays as it is, because the model may be
        unable to read what would be added, such as a long tool result.
        """
        rendered = self._render(conversation)
        old = conversation.sample
        added_ids = self.chat.encode_continuation(old.token_ids, rendered)
        if added_ids is None:
            new = start_sample(self.chat.encode(rendered))
        else:
            new = append_prompt(old, added_ids)
        conversation.is_open = self._has_room(new)
        if conversation.is_open:
            conversation.sample = new
            conversation.finished_samples += [old] if added_ids is None else []
        else:
            conversation.finish_reason = "length"


def hash_seed(text: str) -> int:
    """Hash a text to a seed that is the same in every process."""
    return zlib.crc32(text.encode())
