"""Hold what a step has gathered."""

from dataclasses import dataclass, field

from podium_trainer.records.rows.clock import Clock
from podium_trainer.samplers import SamplingFailed
from podium_trainer.update.groups import RankedGroup


@dataclass
class Gathered:
    """The groups of one step.

    Attributes:
        kept: the groups with signal, which are trained on.
        seen: all groups that were rolled out.
        lost: the failures of the groups that the sampler failed at.
        group_size: the number of attempts in a group of which none failed.
        advantages: for each group of `kept`, the advantages of its attempts; empty until then.
        too_long: the number of the task's prompts that were left out for their length.
        is_skipped: whether the update failed.
        servers_ready: the number of vLLM servers that may be asked; None without servers.
        clock: what rollout and ranking took.
    """

    kept: list[RankedGroup] = field(default_factory=list)
    seen: list[RankedGroup] = field(default_factory=list)
    lost: list[SamplingFailed] = field(default_factory=list)
    group_size: int = 0
    advantages: list[list[float]] = field(default_factory=list)
    too_long: int = 0
    is_skipped: bool = False
    servers_ready: int | None = None
    clock: Clock = field(default_factory=Clock)

    @property
    def num_ranked(self) -> int:
        """The number of groups that the service could rank."""
        return sum(group.is_ranked for group in self.seen)
