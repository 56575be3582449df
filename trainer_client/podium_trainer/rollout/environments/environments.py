"""Take the environments of many attempts through their calls side by side.

A call that raises, takes too long or returns nonsense fails its attempt: the attempt is counted and
left out of its group, and the reason is logged, with the user's traceback.
"""

import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self, TypeVar

from podium_trainer.config import EnvironmentConfig
from podium_trainer.policy.tool_calls import ToolCall
from podium_trainer.rollout.conversation import Conversation
from podium_trainer.rollout.environments.episode import Episode, Limits
from podium_trainer.rollout.environments.event_loop import EventLoop, LoopClosed, Stalled
from podium_trainer.rollout.environments.faults import CallFailed
from podium_trainer.rollout.environments.observations import (
    BadObservation,
    ReadStep,
    read_reset,
    read_step,
)
from podium_trainer.rollout.environments.processes import Processes
from podium_trainer.tasks.task import Environment, Message, Prompt

PATIENCE_S = 60.0
MAX_LOGGED = 20  # reasons that are logged; the metrics count all
log = logging.getLogger("podium_trainer")

T = TypeVar("T")


class Environments:
    """The environments of a task's attempts. Close it, or use it in `with`.

    Args:
        make: makes the environment of one attempt.
        workers: the number of blocking calls that run at once.
        timeout_s: the time limit of one call, in seconds; None if the environments keep one.
    """

    def __init__(
        self, make: Callable[[], Environment], *, workers: int, timeout_s: float | None
    ) -> None:
        self._make = make
        self._timeout_s = timeout_s
        self._loop = EventLoop(workers, patience_s=timeout_s or PATIENCE_S)
        self._open: dict[int, Episode] = {}  # by the id of the conversation
        self._logged: set[str] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def reset(
        self, conversations: Sequence[Conversation], prompts: Sequence[Prompt]
    ) -> list[list[Message] | None]:
        """Give each conversation an environment of its own; return what each one says first."""
        with self._lock:
            if self._is_closed:
                raise LoopClosed
            for conversation, prompt in zip(conversations, prompts, strict=True):
                self._open[id(conversation)] = Episode(self._make, prompt)

        async def reset(conversation: Conversation, episode: Episode) -> list[Message]:
            return read_reset(await episode.reset(self._limits()))

        return self._run(reset, conversations)

    def step(self, conversations: Sequence[Conversation]) -> list[ReadStep | None]:
        """Give each environment its conversation's last message; None for those that failed."""

        async def step(conversation: Conversation, episode: Episode) -> ReadStep:
            step = read_step(await episode.step(conversation.messages[-1], self._limits()))
            if step.reward is not None:
                conversation.reward = (conversation.reward or 0.0) + step.reward
            return step

        return self._run(step, conversations)

    def call_tools(
        self, conversations: Sequence[Conversation], calls: Sequence[Sequence[ToolCall]]
    ) -> list[list[str] | None]:
        """Run the calls of each conversation one after the other; return their results as text."""
        own = {id(c): each for c, each in zip(conversations, calls, strict=True)}

        async def call(conversation: Conversation, episode: Episode) -> list[str]:
            return [
                await episode.call_tool(each.name, each.arguments, self._limits())
                for each in own[id(conversation)]
            ]

        return self._run(call, conversations)

    def close_all(self, conversations: Sequence[Conversation]) -> None:
        """Close the environments of some conversations, if they are open."""
        self._close([id(conversation) for conversation in conversations])

    def close(self) -> None:
        """Close all environments and end the event loop; calls that still run are given up."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        try:
            self._close(list(self._open))
        finally:
            self._loop.close()

    def _close(self, keys: Sequence[int]) -> None:
        """Close some environments; only log what goes wrong there."""

        async def close(episode: Episode) -> None:
            try:
                await episode.close(self._limits())
            except CallFailed as failure:
                self._log(episode, failure)

        found = [self._open.pop(key, None) for key in keys]
        self._loop.run_all([close(episode) for episode in found if episode is not None])

    def _run(
        self,
        call: Callable[[Conversation, Episode], Coroutine[Any, Any, T]],
        conversations: Sequence[Conversation],
    ) -> list[T | None]:
        """Run a call of each conversation's environment; fail the conversations where it fails."""

        async def run(
            conversation: Conversation, episode: Episode
        ) -> T | CallFailed | BadObservation:
            try:
                return await call(conversation, episode)
            except (CallFailed, BadObservation) as failure:
                return failure

        pairs = [(c, self._open[id(c)]) for c in conversations]
        outcomes = self._loop.run_all([run(*pair) for pair in pairs])
        results: list[T | None] = []
        for (conversation, episode), outcome in zip(pairs, outcomes, strict=True):
            if isinstance(outcome, CallFailed | BadObservation | Stalled):
                conversation.fail(str(outcome))
                self._log(episode, outcome)
                results.append(None)
            else:
                results.append(outcome)
        return results

    def _limits(self) -> Limits:
        return Limits(self._loop.slots, self._timeout_s)

    def _log(self, episode: Episode, failure: Exception) -> None:
        """Log the reason of a failure, with the traceback, if it is new."""
        reason = str(failure)
        if reason in self._logged or len(self._logged) >= MAX_LOGGED:
            return
        self._logged.add(reason)
        trace = failure.trace.rstrip() if isinstance(failure, CallFailed) else ""
        shown = f"\n{trace}" if trace else ""
        log.warning("the environment of an attempt at %r: %s%s", episode.prompt.id, reason, shown)


@contextmanager
def open_environments(
    make: Callable[[], Environment] | None, config: EnvironmentConfig
) -> Iterator[Environments | None]:
    """Open the environments of a task; None if it has none."""
    if make is None:
        yield None
        return
    with ExitStack() as stack:
        timeout_s: float | None = config.timeout_s
        if config.kind == "process":
            processes = stack.enter_context(Processes(make, config.timeout_s))
            make, timeout_s = processes.make, None
        yield stack.enter_context(Environments(make, workers=config.workers, timeout_s=timeout_s))
