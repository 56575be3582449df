"""Score the groups of an Atropos environment by a judge.

    class Env(PodiumMixin, BaseEnv):
        podium_judge = "main"

`collect_trajectories` must put the `messages` of each trajectory into its group. A group that
failed is dropped: Atropos sends nothing of it to the trainer, and counts it as failed. A fault that
no later group can escape ends the process, because Atropos goes on after any other exception.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from podium.answers import GroupReward
from podium.client import AsyncRankClient
from podium.errors import RankError
from podium.groups import Trajectory, TrajectoryGroup
from podium.integrations.chat import Message, conversation
from podium.integrations.outcome import (
    metrics,
    rewards_of,
    run_metadata,
    tell_page,
    with_anchor,
)

__all__ = ["PodiumMixin"]

Group = dict[str, Any]


class PodiumMixin:
    """Replace the scores of each group by a judge's rewards; it stands before `BaseEnv`.

    A group may hold a known good answer under `podium_reference` and the answer of a fixed opponent
    under `podium_anchor`. Both are taken out of it.

    Attributes:
        podium_url: the URL of the service; None takes `PODIUM_URL`, else http://127.0.0.1:8000.
        podium_judge: the name of a judge in the service's judges file; None for its default judge.
        podium_rubric: criteria that replace the judge's own rubric.
        podium_run: the name of the run, which the service keeps with the ranking.
    """

    podium_url: str | None = None
    podium_judge: str | None = None
    podium_rubric: str | None = None
    podium_run: str | None = None

    async def postprocess_histories(
        self, trajectories: Group | Sequence[Group | None] | None
    ) -> Group | list[Group] | None:
        """Return the groups with a judge's rewards as scores, without those that failed.

        Raises:
            SystemExit: If no later group can be ranked; see `StopRule`.
        """
        if trajectories is None or isinstance(trajectories, dict):
            return None if trajectories is None else await self._score(trajectories)
        groups = [await self._score(each) for each in trajectories if each is not None]
        return [each for each in groups if each is not None] or None

    async def wandb_log(self, wandb_metrics: dict[str, Any] | None = None) -> None:
        """Log the metrics of the groups since the last log beside the environment's own."""
        outcomes, self._outcomes[:] = list(self._outcomes), []
        own = {f"train/{name}": value for name, value in metrics(outcomes).items()}
        parent: Any = super()  # not there for mypy
        await parent.wandb_log({**(wandb_metrics or {}), **(own if outcomes else {})})

    async def _score(self, group: Group) -> Group | None:
        asked = self._group(group)
        try:
            outcome = await self._podium.try_rank(asked)
        except RankError as error:
            raise SystemExit(f"podium: {error}") from error
        tell_page(self._podium.page(run=self.podium_run))
        self._outcomes.append(outcome)
        rewards = rewards_of(outcome)
        return None if rewards is None else {**group, "scores": rewards}

    def _group(self, group: Group) -> TrajectoryGroup:
        chats = group.get("messages")
        if not chats:
            raise SystemExit(
                "podium: a group has no messages: put them into the groups that "
                "collect_trajectories returns"
            )
        reference, anchor = group.pop("podium_reference", None), group.pop("podium_anchor", None)
        conversations = [conversation([], list(messages)) for messages in chats]
        asked = TrajectoryGroup(
            [Trajectory(str(index), each) for index, each in enumerate(conversations)],
            judge=self.podium_judge,
            rubric=self.podium_rubric,
            reference=reference,
            metadata=run_metadata("atroposlib", self.podium_run, getattr(self, "curr_step", None)),
        )
        return with_anchor(asked, _with_answer(conversations[0], anchor))

    @cached_property
    def _podium(self) -> AsyncRankClient:
        return AsyncRankClient(self.podium_url)

    @cached_property
    def _outcomes(self) -> list[GroupReward]:
        return []


def _with_answer(messages: Sequence[Message], answer: str | None) -> list[Message] | None:
    """Return the prompt of a conversation with another answer."""
    if answer is None:
        return None
    roles = [message["role"] for message in messages]
    prompt = messages[: roles.index("assistant")] if "assistant" in roles else messages
    return conversation(list(prompt), answer)
