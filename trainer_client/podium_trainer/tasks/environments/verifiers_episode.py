"""Play one attempt in an environment of verifiers, which believes that it asks a model.

verifiers plays by itself: its harness asks for completions, runs the tools, and its task scores the
trace. So it is given an endpoint that holds each request until the trainer has the completion; what
the next request adds to the conversation is the environment's answer to it.
"""

import asyncio
import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from podium_trainer.tasks.environments.policy_endpoint import PolicyEndpoint
from podium_trainer.tasks.task import EnvironmentFault, Message, Prompt, Step

NO_KEY = "PODIUM_POLICY_HAS_NO_KEY"


class EpisodeError(EnvironmentFault):
    """verifiers ends an episode with an error, or plays in a way that no attempt can follow."""


class Episode:
    """An attempt at one task of a taskset.

    Args:
        config: the settings of the environment, as JSON.
        tools: the names of the tools that every task must have; None for any.
    """

    def __init__(self, config: str, tools: Sequence[str] | None) -> None:
        self._config = config
        self._tools = tools
        self._endpoint = PolicyEndpoint()
        self._playing: asyncio.Task[tuple[float, bool]] | None = None
        self._said: list[Message] = []
        self.definitions: list[dict[str, Any]] = []

    async def reset(self, prompt: Prompt) -> list[Message]:
        """Begin to play the prompt's task, and return what is said after the prompt."""
        url = await self._endpoint.start()
        self._playing = asyncio.create_task(play(self._config, prompt.row, url))
        self._said = list(prompt.messages)
        request = await self._next_request()
        if request is None:
            raise EpisodeError("the task ended before it asked for a completion")
        self.definitions = request.get("tools") or []
        names = [tool["function"]["name"] for tool in self.definitions]
        if self._tools is not None and sorted(names) != sorted(self._tools):
            raise EpisodeError(
                f"the task has the tools {names}, and the first one of the taskset has"
                f" {list(self._tools)}: all tasks of a run must have the same"
            )
        return self._added(request)

    async def step(self, completion: Message) -> Step:
        """Answer verifiers' request, and return what its next one adds, or the reward."""
        self._said.append(completion)
        self._endpoint.answer(completion)
        request = await self._next_request()
        if request is not None:
            return Step(self._added(request), is_done=False)
        assert self._playing is not None
        reward, is_truncated = self._playing.result()
        return Step("", True, reward, is_truncated)

    async def close(self) -> None:
        """End the episode, with the servers of its tools."""
        if self._playing is not None:
            self._playing.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._playing
        await self._endpoint.close()

    async def _next_request(self) -> dict[str, Any] | None:
        """Wait for the next request; None if the episode is over.

        Raises:
            EpisodeError: If it ended with an error.
        """
        assert self._playing is not None
        asked = asyncio.create_task(self._endpoint.next_request())
        await asyncio.wait({asked, self._playing}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        asked.cancel()
        self._playing.result()
        return None

    def _added(self, request: Mapping[str, Any]) -> list[Message]:
        """Return the messages of a request that were not said yet.

        Raises:
            EpisodeError: If it does not begin with all that was said.
        """
        messages: list[Message] = [to_text(message) for message in request["messages"]]
        known = len(self._said)
        if len(messages) < known or not all(map(is_same, messages, self._said)):
            raise EpisodeError(
                "the conversation was rewritten, as by compaction: only what is added at its end"
                " can be trained on"
            )
        self._said = messages
        return messages[known:]


def to_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of a request whose content is text.

    Raises:
        EpisodeError: If it has other parts than text.
    """
    content = message.get("content") or ""
    if not isinstance(content, str):
        others = [part.get("type") for part in content if part.get("type") != "text"]
        if others:
            raise EpisodeError(f"a message holds {others[0]!r}, and the policy reads text alone")
        content = "\n".join(part["text"] for part in content)
    return {**message, "content": content}


def is_same(one: Message, other: Message) -> bool:
    """Return whether two messages say the same, as far as a request repeats it."""
    contents = [(message.get("content") or "").strip() for message in (one, other)]
    return bool(one["role"] == other["role"] and contents[0] == contents[1])


@lru_cache(maxsize=8)
def load_environment(config: str) -> Any:
    """Load an environment with its taskset, which all attempts share."""
    import verifiers.v1 as vf

    return vf.load_environment(vf.resolve_env_config(json.loads(config)))


async def play(config: str, row: Mapping[str, Any], url: str) -> tuple[float, bool]:
    """Have verifiers play a task with the completions of an endpoint; return its outcome.

    Raises:
        EpisodeError: If the episode has an error.
    """
    import verifiers.v1 as vf

    env = copy.copy(load_environment(config))  # `serving` keeps its servers on the object
    kind = type(env.taskset).task_type()
    task = kind(kind.data_type().model_validate(dict(row)), env.config.taskset.task)
    client = vf.EvalClientConfig(base_url=url, api_key_var=NO_KEY)
    async with env.serving():
        episode = await env.run_episode(task, vf.ModelContext(model="policy", client=client))
    return read_outcome(episode)


def read_outcome(episode: Any) -> tuple[float, bool]:
    """Return the sum of the rewards of the policy's trace, and whether a limit cut it off."""
    traces = [trace for trace in episode.traces if trace.agent.trainable]
    failed = [trace for trace in episode.traces if not trace.ok]
    errors = [*episode.errors, *(error for trace in failed for error in trace.errors)]
    if errors:
        words = " ".join(errors[-1].message.split())[:300]
        raise EpisodeError(f"{errors[-1].type}: {words}")
    if len(traces) != 1:
        raise EpisodeError(f"the policy played {len(traces)} times, and an attempt is one trace")
    return float(traces[0].reward), bool(traces[0].is_truncated)
