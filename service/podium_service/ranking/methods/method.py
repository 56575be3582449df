"""Define a ranking method: a pure plan and a pure estimate over a group's verdicts so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from podium_service.judges.limits import Passes
from podium_service.prompts.verdict import Verdict
from podium_service.scoring.estimate import Estimate
from podium_service.scoring.least_squares import Pass
from podium_service.scoring.noise import JudgeNoise

# The questions to ask: by the index of the question, the bodies to show in the order to show them.
Plan = dict[int, list[int]]

# Once `passes.min` passes are there, another pass must be expected to put at least this share of
# the pairs in their right order. Four passes of a judge whose noise equals the signal do.
MIN_EXPECTED_GAIN = 0.0135
SETTLED_RELIABILITY = 0.9


@dataclass(frozen=True, slots=True)
class Situation:
    """The state of a group's run as a method sees it; items are the group's bodies, by index."""

    num_items: int  # the number of distinct trajectories, >= 2
    seed: int  # the design's seed; it comes from the content, so a retry gets the same plan
    passes: Passes  # how often each trajectory is to be shown
    noise: JudgeNoise | None = None
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)  # the verdict of each question
    calls_left: float = float("inf")  # the number of calls that the budget still holds
    block_size: int = 5  # the trajectories in a call, for methods that show subsets

    @property
    def scored_passes(self) -> list[Pass]:
        """The order and the scores of every verdict, sorted by question."""
        return [(verdict.order, verdict.scores) for _, verdict in sorted(self.verdicts.items())]

    def with_verdicts(self, verdicts: Mapping[int, Verdict], calls_left: float) -> "Situation":
        """Return the situation once these verdicts are there."""
        return replace(self, verdicts=verdicts, calls_left=calls_left)

    def keep_missing(self, questions: Plan, max_calls: float) -> Plan:
        """Return the first `max_calls` of those questions that have no verdict yet."""
        missing = sorted(index for index in questions if index not in self.verdicts)
        return {index: questions[index] for index in missing[: int(min(len(missing), max_calls))]}


@dataclass(frozen=True, slots=True)
class Method:
    """One way to rank a group."""

    form: str  # the form of its questions; see `prompts.forms`
    plan: Callable[[Situation], Plan]  # the questions to ask now; empty when there are none left
    estimate: Callable[[Situation], Estimate]  # the scores, given enough verdicts for a ranking
    min_calls: Callable[[Situation], int]  # the least number of calls that gives a ranking
    call_size: Callable[[Situation], int]  # the number of trajectories in one call
    is_absolute: bool = False  # whether an answer about a trajectory holds in any group


def is_settled(estimate: Estimate, passes: Passes) -> bool:
    """Return whether to stop: the rewards are settled, or the group evidently has no signal.

    While the judge's noise is unknown, the group is not settled, because one more pass tells it.
    """
    if estimate.stderr is None:
        return False
    gains_little = estimate.expected_gain < MIN_EXPECTED_GAIN
    if passes.until_stderr is not None:
        return estimate.max_stderr <= passes.until_stderr
    return gains_little or estimate.shrinkage >= SETTLED_RELIABILITY
