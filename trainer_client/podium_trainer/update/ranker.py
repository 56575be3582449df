"""Ask the reward service to rank the groups of a step, each as soon as it is played.

    group 1 played ──► request ─────────────► ranked
        group 2 played ──► request ───► ranked
                 group 3 played ──► request ───────► ranked ──► all groups, in their order

Of more than MAX_REQUESTS groups, as many share a request as keeps the number of requests below.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

from podium.answers import GroupReward
from podium.blocking_client import RankClient
from podium.errors import RequestRefused
from podium.groups import TrajectoryGroup
from podium.stop_rule import concerns_all
from podium_trainer.config import TrainConfig
from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.tasks.reward import verify_all
from podium_trainer.tasks.task import Prompt, Task
from podium_trainer.update.groups import RankedGroup, to_wire

MAX_REQUESTS = 16  # of a ranking; the client has 64 connections for those that run ahead


@dataclass(frozen=True)
class Unranked:
    """A group that is ready to be sent.

    Attributes:
        prompt: the prompt.
        attempts: its attempts.
        verified: the verified reward of each attempt; empty if the task has none.
        wire: the group as the service receives it.
    """

    prompt: Prompt
    attempts: list[Attempt]
    verified: list[float | None]
    wire: TrajectoryGroup


@dataclass(frozen=True)
class Ranker:
    """Sends groups to the service, with the rewards that the task itself verifies.

    Attributes:
        config: all settings of the run.
        task: its reward is used, not its prompts.
        rollout: its definitions of tools are used.
        client: asks the service.
    """

    config: TrainConfig
    task: Task
    rollout: Rollout
    client: RankClient

    def prepare(self, step: int, prompt: Prompt, attempts: list[Attempt]) -> Unranked:
        """Verify the attempts at a prompt, and write them for the service.

        Raises:
            UserCodeError, TaskError: If the task's reward fails.
        """
        verified = verify_all(self.task, prompt, attempts)
        service = self.config.service
        wire = to_wire(
            prompt,
            attempts,
            verified,
            step=step,
            judge=service.judge,
            rubric=service.rubric,
            tools=self.rollout.definitions,
            run=self.config.run_name,
            steps=self.config.steps,
        )
        return Unranked(prompt, attempts, verified, wire)

    def ask(
        self, groups: Sequence[Unranked], on_progress: Callable[[int, int], None]
    ) -> list[RankedGroup]:
        """Ask for the rewards of some groups; one that cannot be ranked comes back masked.

        A run that loses all groups of its first step stops, and one whose service refuses some
        groups goes on, whichever of them are asked for first.

        Raises:
            RankError: If no later group can be ranked either.
        """
        try:
            answers = self.client.rank_many([g.wire for g in groups], on_progress=on_progress)
        except RequestRefused as error:
            if concerns_all(error):
                raise
            answers = [GroupReward.from_error(error) for _ in groups]
        parts = zip(groups, answers, strict=True)
        return [RankedGroup(g.prompt, g.attempts, answer, g.verified) for g, answer in parts]


class Ranking:
    """The ranking of some groups of a step; leave its `with` block to give up open requests.

    Args:
        ranker: asks for the rewards.
        step: the step.
        num_groups: the number of groups that may come; at least 1.
        asking: makes a context that is entered while a request is on its way, in its thread.
        on_progress: called with (groups done, groups so far), on any thread.
    """

    def __init__(
        self,
        ranker: Ranker,
        step: int,
        num_groups: int,
        *,
        asking: Callable[[], AbstractContextManager[None]],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._ranker = ranker
        self._step = step
        self._asking = asking
        self._on_progress = on_progress
        self._share = math.ceil(num_groups / MAX_REQUESTS)
        self._waiting: dict[int, Unranked] = {}
        self._requests: list[Future[dict[int, RankedGroup]]] = []
        self._num_groups = self._num_done = 0
        self._threads = ThreadPoolExecutor(MAX_REQUESTS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def add(self, place: int, prompt: Prompt, attempts: list[Attempt]) -> None:
        """Send a group, as soon as enough others share its request.

        Args:
            place: decides the order of what `finish` returns.
            prompt: the prompt.
            attempts: the attempts at it.

        Raises:
            RankError: If a request has failed and no later group can be ranked either.
            UserCodeError, TaskError: If the task's reward fails.
        """
        for request in self._requests:
            if request.done():
                request.result()
        self._waiting[place] = self._ranker.prepare(self._step, prompt, attempts)
        self._num_groups += 1
        if len(self._waiting) == self._share:
            self._send()

    def finish(self) -> list[RankedGroup]:
        """Send what waits for others, and return all groups in their order once they are ranked.

        Raises:
            RankError: If a request has failed and no later group can be ranked either.
        """
        if self._waiting:
            self._send()
        ranked: dict[int, RankedGroup] = {}
        for request in as_completed(self._requests):
            ranked |= request.result()
        return [ranked[place] for place in sorted(ranked)]

    def _send(self) -> None:
        groups, self._waiting = self._waiting, {}
        self._requests.append(self._threads.submit(self._ask, groups))

    def _ask(self, groups: dict[int, Unranked]) -> dict[int, RankedGroup]:
        with self._asking():
            ranked = self._ranker.ask(list(groups.values()), self._count)
        return dict(zip(groups, ranked, strict=True))

    def _count(self, done: int, total: int) -> None:
        """Count one group more as done; the client calls this on one thread."""
        self._num_done += 1
        self._on_progress(self._num_done, self._num_groups)
