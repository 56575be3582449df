"""Sample groups of attempts at prompts, turn by turn, with tools and environments.

All open conversations of a call take their turns side by side. What a tool or an environment says
becomes tokens after the sampled ones, and no sampled token is ever tokenized again.
"""

import itertools
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from podium_trainer.policy.chat import Chat
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
    assistant_message,
    share_prompts,
    start_conversation,
)
from podium_trainer.rollout.environments.environments import Environments
from podium_trainer.rollout.failures import PlayedGroup, attempts_of
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.rollout.world import World
from podium_trainer.samplers import Sampler, SamplingFailed
from podium_trainer.tasks.task import Prompt, Task

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
        self, prompts: Sequence[Prompt], group_size: int, *, seed: str
    ) -> list[list[Attempt]]:
        """Sample as `play` does, and return the groups in the order of the prompts.

        Raises:
            SamplerError: If the sampler fails for any prompt, or fewer than two attempts are left.
            PromptTooLong: If a prompt leaves no room for a completion.
        """
        groups = self.try_groups(prompts, group_size, seed=seed)
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
    ) -> list[PlayedGroup]:
        """Sample as `play` does, and return what it yields in the order of the prompts.

        Raises:
            SamplerError: If the sampler fails for good.
            PromptTooLong: If a prompt leaves no room for a completion.
        """
        groups: dict[int, PlayedGroup] = {}
        for place, group in self.play(prompts, group_size, seed=seed):
            groups[place] = group
            on_progress(len(groups), len(prompts))
        return [groups[place] for place in range(len(prompts))]

    def play(
        self, prompts: Sequence[Prompt], group_size: int, *, seed: str
    ) -> Generator[tuple[int, PlayedGroup], None, None]:
        """Sample `group_size` attempts at each of P prompts, and yield each group when it is done.

        Args:
            prompts: any number of prompts.
            group_size: the number of attempts at each.
            seed: decides the draws, together with the turn.

        Yields:
            The place of a prompt, 0 to P - 1, with the attempts at it, or with the failure of all
            of them. Attempts whose environment failed are left out.

        Raises:
            SamplerError: If the sampler fails for good.
            PromptTooLong: If a prompt leaves no room for a completion.
        """
        play = self._play_together if self.sampler.in_lockstep else self._play_apart
        if prompts:
            yield from play(prompts, group_size, seed)

    def _play_together(
        self, prompts: Sequence[Prompt], group_size: int, seed: str
    ) -> Iterator[tuple[int, PlayedGroup]]:
        """Take all attempts through their turns side by side, or group by group if one fails."""
        unplayed = dict(enumerate(prompts))
        try:
            for place, group in self._sample_together(prompts, group_size, seed):
                del unplayed[place]
                yield place, group
        except SamplingFailed:  # one of them is at fault, and the others must not suffer
            for place, prompt in unplayed.items():
                yield place, self._try_group(prompt, group_size, seed)

    def _play_apart(
        self, prompts: Sequence[Prompt], group_size: int, seed: str
    ) -> Iterator[tuple[int, PlayedGroup]]:
        """Take the attempts at each prompt through their turns in a thread of their own."""
        threads = ThreadPoolExecutor(min(MAX_THREADS, len(prompts)))
        try:
            places = {
                threads.submit(self._try_group, prompt, group_size, seed): place
                for place, prompt in enumerate(prompts)
            }
            for group in as_completed(places):
                yield places[group], group.result()
        finally:  # after an error or ctrl-C nobody needs the other groups, so do not wait for them
            threads.shutdown(wait=False, cancel_futures=True)

    def _try_group(self, prompt: Prompt, group_size: int, seed: str) -> PlayedGroup:
        """Sample the attempts at one prompt, or return their failure."""
        try:
            [(_, group)] = self._sample_together([prompt], group_size, f"{seed}/{prompt.id}")
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
    ) -> Iterator[tuple[int, PlayedGroup]]:
        """Take all attempts at some prompts through their turns, and yield groups without any."""
        groups = {}
        for place, prompt in enumerate(prompts):
            ids = self.prompt_ids(prompt)
            groups[place] = [start_conversation(prompt, ids) for _ in range(group_size)]
        members = [conversation for group in groups.values() for conversation in group]
        try:
            self._reset(members, [prompt for prompt in prompts for _ in range(group_size)])
            self._sample(share_prompts(list(groups.values())), f"{seed}/0")
            for turn in itertools.count(1):
                yield from self._take_closed(groups)
                if not groups:
                    return
                self._answer([c for c in members if c.is_open])
                self._sample([[c] for c in members if c.is_open], f"{seed}/{turn}")
        finally:
            self.world.close(members)

    def _take_closed(
        self, groups: dict[int, list[Conversation]]
    ) -> Iterator[tuple[int, PlayedGroup]]:
        """Take out the groups that have no open conversation, and yield their attempts."""
        for place, group in list(groups.items()):
            if not any(conversation.is_open for conversation in group):
                self.world.close(groups.pop(place))
                yield place, attempts_of(group)

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
        conversation.messages.append(assistant_message(conversation, turn, self.chat.tool_format))
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
