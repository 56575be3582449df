"""Define a ranking method: a pure plan and a pure estimate over a group's verdicts so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from podium_service.judges.limits import Passes
from podium_service.prompts.verdict import Verdict
from podium_service.prompts.wording import FORMS_OF_ONE
from podium_service.scoring.estimate import Estimate
from podium_service.scoring.least_squares import Pass
from podium_service.scoring.noise import JudgeNoise
from podium_service.scoring.posterior import expected_reliability
from podium_service.scoring.signal_ratio import yield_of_passes

# The questions to ask: by the index of the question, the bodies to show in the order to show them.
Plan = dict[int, list[int]]


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
    def times_shown(self) -> float:
        """How often a trajectory was shown, on average."""
        return sum(len(verdict.order) for verdict in self.verdicts.values()) / self.num_items

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
    is_audited: bool = True  # whether a second pass of some groups tells the judge's noise

    @property
    def has_order(self) -> bool:
        """Whether a question shows several trajectories, in some order."""
        return self.form not in FORMS_OF_ONE


def is_settled(
    situation: Situation, estimate: Estimate, num_passes: float, step: float = 1.0
) -> bool:
    """Return whether to stop: another pass of this group buys less than a pass does on average.

    A pass buys reliability. Groups that look like equals and groups that are told apart well stop
    at once, and groups in between go on. While the judge's noise is unknown, a group is not
    settled, because one more pass tells it.

    Args:
        situation: of a group whose passes are complete.
        estimate: what they tell.
        num_passes: their number.
        step: passes that would be asked next.
    """
    passes = situation.passes
    if estimate.stderr is None:
        return False
    if passes.until_stderr is not None:
        return estimate.max_stderr <= passes.until_stderr
    num_steps, rollout_cost = num_passes / step, passes.rollout_cost / step
    after = expected_reliability(estimate.posterior, growth=(num_steps + 1) / num_steps)
    gain, noise = after - estimate.shrinkage, situation.noise
    if noise is not None and noise.ratios:
        information = estimate.information / num_steps
        average = float(yield_of_passes(noise.ratios_R, information, rollout_cost).max())
        return gain <= average
    return gain <= estimate.shrinkage / (rollout_cost + num_steps)
