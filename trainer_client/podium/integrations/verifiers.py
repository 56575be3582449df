"""Rank the attempts of an episode of verifiers, and of prime-rl, by a judge.

    uv run eval gsm8k --env.id podium-env --env.n 8 --env.podium-judge main

An episode makes n attempts at its task, and `finalize` ranks them and records a reward for each. A
group that failed raises there, so verifiers counts the whole episode as failed and may try it
again. A fault that no later episode can escape is raised when the environment starts.
"""

from collections.abc import Sequence
from typing import Any

import verifiers.v1 as vf
from pydantic import Field
from verifiers.v1.envs.best_of_n import BestOfNEnv, BestOfNEnvConfig

from podium.answers import GroupReward
from podium.client import DEFAULT_DEADLINE_S, AsyncRankClient
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.anchors import FIRST_COMPLETION, FirstCompletions
from podium.integrations.chat import Message, conversation
from podium.integrations.outcome import (
    MAX_GROUP_ID_CHARS,
    metrics,
    results_of,
    run_metadata,
    tell_page,
    with_anchor,
)

__all__ = ["FIRST_COMPLETION", "PodiumEnv", "PodiumEnvConfig"]


class PodiumEnvConfig(BestOfNEnvConfig):  # type: ignore[misc]  # verifiers is not there for mypy
    """The settings of `PodiumEnv`, beside `n` and those of any environment."""

    podium_url: str | None = None
    """The URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000."""
    podium_judge: str | None = None
    """The name of a judge in the service's judges file; None for its default judge."""
    podium_rubric: str | None = None
    """Criteria that replace the judge's own rubric."""
    podium_reference: str | None = None
    """The field of the task's data with a known good answer, which the judge is shown."""
    podium_anchor: str | None = None
    """The field of the task's data with a fixed opponent's answer, or `first completion`."""
    podium_weight: float = 1.0
    """The weight of the judge's reward beside the rewards of the task."""
    podium_deadline_s: float = Field(DEFAULT_DEADLINE_S, gt=0)
    """Seconds for the ranking of one episode."""


class PodiumEnv(BestOfNEnv, vf.Env[PodiumEnvConfig]):  # type: ignore[misc]  # likewise
    """An environment whose attempts at a task are ranked by a judge, by the reward `podium`."""

    config: PodiumEnvConfig

    async def start(self) -> None:
        """Ask the service for a group of one, which costs no judge call, to find faults early.

        Raises:
            RankError: If the service is not there, or knows no such judge or key.
        """
        await super().start()
        settings = self.config
        self._first = FirstCompletions()
        self._client = AsyncRankClient(
            settings.podium_url, deadline_s=settings.podium_deadline_s, max_dry=None
        )
        attempt = Trajectory("0", conversation("Say yes.", "yes"))
        reference = None if settings.podium_reference is None else "yes"
        await self._client.rank(
            TrajectoryGroup([attempt], judge=settings.podium_judge, reference=reference)
        )

    async def finalize(self, task: vf.Task, episode: vf.Episode) -> None:
        """Rank the attempts that ended without an error, and record their rewards.

        Raises:
            RankError: If the attempts could not be ranked; then none of them gets a reward.
            ValueError: If the task's data lack the field of the reference or the anchor.
        """
        await super().finalize(task, episode)
        traces = [trace for trace in episode.traces if not trace.has_error]
        if not traces:
            return
        outcome = await self._client.rank(self._group(task, episode, traces))
        tell_page(self._client.page(run=_run(episode)))
        self._record(traces, outcome)

    def _group(
        self, task: vf.Task, episode: vf.Episode, traces: Sequence[vf.Trace]
    ) -> TrajectoryGroup:
        settings, first = self.config, traces[0]
        reference = self._field(task, settings.podium_reference)
        run = _run(episode)
        step = getattr(getattr(episode.run, "work", None), "step", None)
        group = TrajectoryGroup(
            [_trajectory(index, trace) for index, trace in enumerate(traces)],
            f"{run or 'verifiers'}/{episode.id}"[:MAX_GROUP_ID_CHARS],
            judge=settings.podium_judge,
            rubric=settings.podium_rubric,
            reference=None if reference is None else str(reference),
            tools=[_tool(tool) for tool in first.tools] or None,
            metadata=run_metadata("verifiers", run, step),
        )
        return with_anchor(group, self._anchor(task, first))

    def _anchor(self, task: vf.Task, first: vf.Trace) -> Sequence[Message] | None:
        name = self.config.podium_anchor
        if name is None:
            return None
        messages = _messages(first)
        roles = [message["role"] for message in messages]
        start = roles.index("assistant") if "assistant" in roles else len(roles)
        prompt = messages[:start]
        if name != FIRST_COMPLETION:
            return conversation(prompt, str(self._field(task, name)))
        completion = self._first.anchor(prompt, messages[start:])
        return None if completion is None else conversation(prompt, completion)

    def _field(self, task: vf.Task, name: str | None) -> Any:
        if name is None:
            return None
        if not hasattr(task.data, name):
            names = ", ".join(sorted(type(task.data).model_fields))
            raise ValueError(f"the task's data have no field {name!r}; their fields: {names}")
        return getattr(task.data, name)

    def _record(self, traces: Sequence[vf.Trace], outcome: GroupReward) -> None:
        assert outcome.ranking is not None
        shared = metrics([outcome])
        for trace, result in zip(traces, results_of(outcome) or (), strict=True):
            trace.record_reward("podium", result.reward, self.config.podium_weight)
            own = {} if result.score is None else {"podium/score": result.score}
            for name, value in {**shared, **own}.items():
                trace.record_metric(name, value)
            trace.info["podium"] = {
                "ranking": outcome.ranking.id,
                "rank": result.rank,
                "explanation": result.explanation,
            }


def _run(episode: vf.Episode) -> str | None:
    return getattr(episode.run, "name", None) or getattr(episode.run, "id", None)


def _trajectory(index: int, trace: vf.Trace) -> Trajectory:
    last = next((call for call in reversed(trace.calls) if call.error is None), None)
    reason = "length" if trace.is_truncated else getattr(last, "finish_reason", None)
    return Trajectory(str(index), _messages(trace), finish_reason=reason)


def _messages(trace: vf.Trace) -> list[Message]:
    return conversation([], [_message(message) for message in trace.messages])


def _message(message: Any) -> dict[str, Any]:
    """Return a message as OpenAI's chat completions write it."""
    fields: dict[str, Any] = message.model_dump(exclude_none=True, exclude={"provider_state"})
    if "tool_calls" in fields:
        fields["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in fields["tool_calls"]
        ]
    return fields


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.model_dump(include={"name", "description", "parameters"})
    return {"type": "function", "function": function}
