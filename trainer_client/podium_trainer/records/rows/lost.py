"""Count the groups of a step that failed while they were sampled, by cause."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from podium_trainer.samplers import SamplingFailed


@dataclass(frozen=True)
class LostMetrics:
    """Groups and attempts that failed while they were sampled.

    They are left out of all other numbers, and replaced as groups without signal are.

    Attributes:
        groups_unanswered: number of groups whose completions did not come in time.
        groups_refused: number of groups whose prompt was refused, or whose completions are of no
            form that can be used.
        groups_not_finite: number of groups with a log-probability that is NaN or infinite.
        groups_unplayed: number of groups of which fewer than two attempts are left, because their
            environments raised an exception, took too long or ended their process.
        attempts_failed: number of attempts that are left out for that reason, those of such groups
            included.
    """

    groups_unanswered: int
    groups_refused: int
    groups_not_finite: int
    groups_unplayed: int
    attempts_failed: int


def lost_metrics(
    failures: Sequence[SamplingFailed], sizes: Sequence[int], group_size: int
) -> LostMetrics:
    """Count what failed.

    Args:
        failures: one for each group that has no attempts.
        sizes: the number of attempts in each other group.
        group_size: the number of attempts that a group has if none fails.
    """
    counts = Counter(failure.cause for failure in failures)
    return LostMetrics(
        groups_unanswered=counts["unanswered"],
        groups_refused=counts["refused"],
        groups_not_finite=counts["not_finite"],
        groups_unplayed=counts["environment"],
        attempts_failed=sum(max(0, group_size - size) for size in sizes)
        + group_size * counts["environment"],
    )
