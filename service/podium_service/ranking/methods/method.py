"""What a ranking method is: a pure plan and a pure estimate over the verdicts at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from podium_service.judges.limits import Passes
from podium_service.prompts.verdict import Verdict
from podium_service.scoring.estimate import Estimate
from podium_service.scoring.least_squares import Pass
from podium_service.scoring.noise import JudgeNoise
from podium_service.scoring.significance import SIGNIFICANCE_LEVEL

Plan = dict[int, list[int]]

# A pass that is expected to put fewer pairs in their right order than this is not asked for, once
# `passes.min` are there. Four passes of a judge whose noise equals the signal are worth it.
WORTH_ASKING = 0.0135
SETTLED_RELIABILITY = 0.9


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a method knows of a group; verdicts and orders speak of bodies by index.

    Attributes:
        num_items: distinct trajectories, >= 2.
        seed: of the design; from the content, the same on a retry.
        passes: how often each trajectory is to be shown.
        noise: what is known of the judge.
        verdicts: those at hand, by the index of their question.
        calls_left: calls that may still be made.
        block_size: trajectories a call, for methods that show subsets.
        level: of the signal test.
    """

    num_items: int
    seed: int
    passes: Passes
    noise: JudgeNoise | None = None
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    calls_left: float = float("inf")
    block_size: int = 5
    level: float = SIGNIFICANCE_LEVEL

    @property
    def scored(self) -> list[Pass]:
        """Order and scores of every verdict, by question."""
        return [
            (self.verdicts[index].order, self.verdicts[index].scores)
            for index in sorted(self.verdicts)
        ]

    def with_verdicts(self, verdicts: Mapping[int, Verdict], calls_left: float) -> "Situation":
        return replace(self, verdicts=verdicts, calls_left=calls_left)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to rank.

    Attributes:
        form: of its questions; see `forms`.
        plan: the questions to ask now, order by index; empty when there is nothing left to ask.
        estimate: the scores, from the verdicts at hand; never called without enough of them.
        min_calls: calls without which there is no ranking, for so many trajectories.
        shown: trajectories in one call.
    """

    form: str
    plan: Callable[[Situation], Plan]
    estimate: Callable[[Situation], Estimate]
    min_calls: Callable[[Situation], int]
    shown: Callable[[Situation], int]


def is_settled(estimate: Estimate, passes: Passes) -> bool:
    """Whether to stop: the rewards are settled, or the group evidently has no signal. Never while
    the judge's noise is unknown: one more pass tells it."""
    if estimate.stderr is None:
        return False
    worthless = estimate.expected_gain < WORTH_ASKING
    if passes.until_stderr is not None:
        return estimate.max_stderr <= passes.until_stderr or (
            worthless and not estimate.is_significant
        )
    sure = estimate.shrinkage if estimate.reliability is None else estimate.reliability
    return worthless or sure >= SETTLED_RELIABILITY


def keep_affordable(questions: Plan, calls_left: float) -> Plan:
    """The first of the questions, as many as may be asked."""
    if len(questions) <= calls_left:
        return questions
    return {index: questions[index] for index in sorted(questions)[: int(calls_left)]}
