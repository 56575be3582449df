"""Ask the reward service to rank the groups of a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podium.blocking_client import RankClient
from podium_trainer.config import TrainConfig
from podium_trainer.policy.samples import Attempt
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.tasks.reward import verify_all
from podium_trainer.tasks.task import Prompt, Task
from podium_trainer.update.groups import RankedGroup, to_wire


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

    def rank(
        self,
        step: int,
        prompts: Sequence[Prompt],
        played: Sequence[list[Attempt]],
        on_progress: Callable[[int, int], None],
    ) -> list[RankedGroup]:
        """Ask for the rewards of each group; one that cannot be ranked comes back masked.

        Args:
            step: the step.
            prompts: P prompts.
            played: the attempts at each of them.
            on_progress: called with (groups done, groups in all).

        Raises:
            RankError: If no later group can be ranked either.
            UserCodeError, TaskError: If the task's reward fails.
        """
        verified = [
            verify_all(self.task, prompt, attempts)
            for prompt, attempts in zip(prompts, played, strict=True)
        ]
        service = self.config.service
        groups = [
            to_wire(
                prompt,
                attempts,
                checks,
                step=step,
                judge=service.judge,
                rubric=service.rubric,
                tools=self.rollout.definitions,
                run=self.config.out.name,
                steps=self.config.steps,
            )
            for prompt, attempts, checks in zip(prompts, played, verified, strict=True)
        ]
        answers = self.client.rank_many(groups, on_progress=on_progress)
        parts = zip(prompts, played, answers, verified, strict=True)
        return [RankedGroup(*each) for each in parts]
