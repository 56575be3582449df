"""Count the groups of a step that the sampler failed at, by cause."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from podium_trainer.samplers import SamplingFailed


@dataclass(frozen=True)
class LostMetrics:
    """Groups that the sampler failed at.

    They are left out of all other numbers, and replaced as groups without signal are.

    Attributes:
        groups_unanswered: number of groups whose completions did not come in time.
        groups_refused: number of groups whose prompt was refused, or whose completions are of no
            form that can be used.
        groups_not_finite: number of groups with a log-probability that is NaN or infinite.
    """

    groups_unanswered: int
    groups_refused: int
    groups_not_finite: int


def lost_metrics(failures: Sequence[SamplingFailed]) -> LostMetrics:
    counts = Counter(failure.cause for failure in failures)
    return LostMetrics(counts["unanswered"], counts["refused"], counts["not_finite"])
