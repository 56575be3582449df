"""Rank the groups of the Tinker cookbook by a judge.

    builder = PodiumGroupBuilder(problem_group_builder, renderer, judge="main")

The builder wraps another `EnvGroupBuilder`: the inner one makes the environments and gives their
own rewards, to which the judge's are added. A group that failed raises: a strategy that
catches the errors of groups skips it, and `FailFast` ends the run.
"""

from collections.abc import Sequence
from typing import Any

from tinker_cookbook.renderers import Renderer
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, Metrics
from tinker_cookbook.rl.types import Trajectory as Rollout

from podium.client import DEFAULT_DEADLINE_S, AsyncRankClient
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.chat import Message, conversation
from podium.integrations.outcome import (
    metrics,
    results_of,
    run_metadata,
    tell_page,
    with_anchor,
)

__all__ = ["PodiumGroupBuilder"]

_FINISH_REASONS = {"max_tokens": "length", "max_sampled_tokens": "length"}


class PodiumGroupBuilder(EnvGroupBuilder):  # type: ignore[misc]  # not there for mypy
    """An `EnvGroupBuilder` whose groups are ranked by a judge; it pickles if the inner one does.

    Args:
        inner: makes the environments of one problem.
        renderer: the renderer of the policy, which turns its tokens into messages.
        base_url: the URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000.
        judge: the name of a judge in the service's judges file; None for its default judge.
        rubric: criteria that replace the judge's own rubric.
        reference: a known good answer to the problem, which the judge is shown.
        anchor: the answer of a fixed opponent, which is ranked in the group and never trained on;
            the metric `podium/win_rate` is against it.
        weight: the weight of the judge's reward beside those of the inner builder.
        run: the name of the run, which the service keeps with the ranking.
        deadline_s: seconds for the ranking of the group.
        api_key: the bearer token; None takes `PODIUM_API_KEY`.
    """

    def __init__(
        self,
        inner: EnvGroupBuilder,
        renderer: Renderer,
        base_url: str | None = None,
        *,
        judge: str | None = None,
        rubric: str | None = None,
        reference: str | None = None,
        anchor: str | None = None,
        weight: float = 1.0,
        run: str | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        api_key: str | None = None,
    ) -> None:
        self._inner = inner
        self._renderer = renderer
        self._settings: dict[str, Any] = {"judge": judge, "rubric": rubric, "reference": reference}
        self._anchor = anchor
        self._weight = weight
        self._run = run
        self._client = AsyncRankClient(
            base_url, api_key=api_key, deadline_s=deadline_s, max_dry=None
        )

    async def make_envs(self) -> Sequence[Env]:
        """Return the environments of the inner builder."""
        envs: Sequence[Env] = await self._inner.make_envs()
        return envs

    async def compute_group_rewards(
        self, trajectory_group: list[Rollout], env_group: Sequence[Env]
    ) -> list[tuple[float, Metrics]]:
        """Return the inner builder's reward and the judge's, added, and the metrics of both.

        Raises:
            RankError: If the group could not be ranked.
        """
        own = await self._inner.compute_group_rewards(trajectory_group, env_group)
        chats = [
            self._messages(rollout, env)
            for rollout, env in zip(trajectory_group, env_group, strict=True)
        ]
        group = TrajectoryGroup(
            [
                Trajectory(
                    str(index),
                    messages,
                    finish_reason=_FINISH_REASONS.get(str(rollout.stop_reason)),
                )
                for index, (messages, rollout) in enumerate(
                    zip(chats, trajectory_group, strict=True)
                )
            ],
            metadata=run_metadata("tinker-cookbook", self._run, None),
            **self._settings,
        )
        anchor = None if self._anchor is None else [*_prompt(chats[0]), _assistant(self._anchor)]
        outcome = await self._client.rank(with_anchor(group, anchor))
        tell_page(self._client.page(run=self._run))
        shared = metrics([outcome])
        rewards = []
        for (reward, about), result in zip(own, results_of(outcome) or (), strict=True):
            score = {} if result.score is None else {"podium/score": result.score}
            total = reward + self._weight * result.reward
            rewards.append((total, {**about, **shared, **score}))
        return rewards

    async def cleanup(self) -> None:
        """Clean up what the inner builder made."""
        await self._inner.cleanup()

    def logging_tags(self) -> list[str]:
        """Return the tags of the inner builder."""
        tags: list[str] = self._inner.logging_tags()
        return tags

    def _messages(self, rollout: Rollout, env: Env) -> list[Message]:
        """Return the conversation of a rollout.

        The prompt of a `ProblemEnv` is known as messages. Other observations are decoded: what
        comes after the tokens so far is a turn of the user.
        """
        messages: list[Any] = []
        seen: list[int] = []
        for number, turn in enumerate(rollout.transitions):
            observation = turn.ob.to_ints()
            if number == 0 and hasattr(env, "get_question"):
                prefix = [self._renderer.to_openai_message(each) for each in env.convo_prefix]
                messages += [*prefix, {"role": "user", "content": env.get_question()}]
            elif text := self._decode(_after(seen, observation)):
                messages.append({"role": "user", "content": text})
            completion, _ = self._renderer.parse_response(turn.ac.tokens)
            messages.append(self._renderer.to_openai_message(completion))
            seen = [*observation, *turn.ac.tokens]
        return conversation([], messages)

    def _decode(self, tokens: list[int]) -> str:
        return str(self._renderer.tokenizer.decode(tokens)).strip()


def _after(seen: list[int], observation: list[int]) -> list[int]:
    """Return the tokens of an observation that come after those seen; all if it starts anew."""
    return observation[len(seen) :] if observation[: len(seen)] == seen else observation


def _prompt(messages: Sequence[Message]) -> list[Message]:
    roles = [message["role"] for message in messages]
    return list(messages[: roles.index("assistant")] if "assistant" in roles else messages)


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
