"""Answer completions: by the task's tools, and by the environment of each attempt.

A completion that calls tools is answered by their results, and any other one by the environment, if
there is one.
"""

from collections.abc import Iterator, Sequence
from typing import TypeGuard

from podium_trainer.policy.chat import Chat
from podium_trainer.policy.tool_calls import BadToolCall, ToolCall
from podium_trainer.rollout.conversation import Conversation
from podium_trainer.rollout.environments.environments import Environments
from podium_trainer.rollout.tool_runner import ToolRunner
from podium_trainer.tasks.task import Message, Prompt, Task


class World:
    """All that answers the model.

    Args:
        task: its tools and its number of turns are used.
        chat: the policy's chat, whose control tokens no answer may hold.
        tools: runs the tools that have a function.
        environments: gives each attempt its environment; None for a task without.
    """

    def __init__(
        self, task: Task, chat: Chat, tools: ToolRunner, environments: Environments | None
    ) -> None:
        self.max_turns = task.max_turns
        self.calls_to_step = task.calls_to_step
        self.chat = chat
        self.tools = tools
        self.environments = environments
        self._own_tools = {tool.name for tool in task.tools if tool.function is None}

    @property
    def answers_texts(self) -> bool:
        """Whether a completion without a tool call gets an answer."""
        return self.environments is not None

    def reset(
        self, conversations: Sequence[Conversation], prompts: Sequence[Prompt]
    ) -> list[Conversation]:
        """Give each conversation its environment; return those to which it said something."""
        if self.environments is None:
            return []
        observed = self.environments.reset(conversations, prompts)
        pairs = [(c, m) for c, m in zip(conversations, observed, strict=True) if m]
        for conversation, messages in pairs:
            self._add(conversation, messages)
        return [conversation for conversation, _ in pairs]

    def answer(self, conversations: Sequence[Conversation]) -> None:
        """Answer the last completion of each conversation, and close those that end with it."""
        callers = [c for c in conversations if self.asks_tools(c)]
        self._run_calls(callers)
        self._step([c for c in conversations if not self.asks_tools(c)])

    def asks_tools(self, conversation: Conversation) -> bool:
        """Return whether the last completion has calls that are run one by one."""
        return bool(conversation.calls) and not self.calls_to_step

    def end(self) -> None:
        """Close all environments; calls that still run are given up, and no attempt goes on."""
        if self.environments is not None:
            self.environments.close()

    def close(self, conversations: Sequence[Conversation]) -> None:
        """Close the environments of some conversations, if they are open.

        An attempt that was cut off before its environment gave a reward has the reward 0.
        """
        if self.environments is None:
            return
        self.environments.close_all(conversations)
        for conversation in conversations:
            if conversation.finish_reason == "length" and conversation.reward is None:
                conversation.reward = 0.0

    def _run_calls(self, conversations: Sequence[Conversation]) -> None:
        """Run the calls of each conversation, and add their results."""
        own = self._run_own_calls(conversations)
        conversations = [c for c in conversations if c.is_open]
        calls = [c for conversation in conversations for c in conversation.calls]
        shared = iter(self.tools.run_all([c for c in calls if self._is_shared(c)]))
        for conversation in conversations:
            for call_id, call in conversation.calls_by_id():
                if isinstance(call, BadToolCall):
                    result = f"error: {call}"
                else:
                    result = next(shared if self._is_shared(call) else own[id(conversation)])
                message = {"role": "tool", "content": result, "tool_call_id": call_id}
                self._add(conversation, [message])

    def _run_own_calls(self, conversations: Sequence[Conversation]) -> dict[int, Iterator[str]]:
        """Run the calls that go to the conversations' environments; return each one's results."""
        calls = {id(c): [each for each in c.calls if self._is_own(each)] for c in conversations}
        callers = [c for c in conversations if calls[id(c)]]
        if self.environments is None or not callers:
            return {}
        results = self.environments.call_tools(callers, [calls[id(c)] for c in callers])
        return {id(c): iter(each or []) for c, each in zip(callers, results, strict=True)}

    def _is_own(self, call: ToolCall | BadToolCall) -> TypeGuard[ToolCall]:
        """Return whether a call goes to the attempt's environment."""
        return isinstance(call, ToolCall) and call.name in self._own_tools

    def _is_shared(self, call: ToolCall | BadToolCall) -> TypeGuard[ToolCall]:
        """Return whether a call goes to a function of the task."""
        return isinstance(call, ToolCall) and call.name not in self._own_tools

    def _step(self, conversations: Sequence[Conversation]) -> None:
        """Give each environment the last completion, and add what it says."""
        if self.environments is None or not conversations:
            return
        steps = self.environments.step(conversations)
        for conversation, step in zip(conversations, steps, strict=True):
            if step is None:
                continue
            self._add(conversation, step.messages)
            is_last = conversation.num_turns >= self.max_turns
            conversation.is_open = not (step.is_done or is_last)
            if step.is_truncated if step.is_done else is_last:
                conversation.finish_reason = "length"

    def _add(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        """Add messages to a conversation, in a form in which they cannot end a turn."""
        conversation.add(
            [{**m, "content": self.chat.break_control_tokens(m["content"])} for m in messages]
        )
