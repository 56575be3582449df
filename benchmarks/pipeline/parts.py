"""Parts of a step that take chosen seconds: who samples, who judges, who updates.

To add a kind of step: put its `Parts` into KINDS.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

PROMPTS = 4  # groups of a step, all of which the sampler plays side by side
MANY = 1024  # places at the judge, more than there are groups


@dataclass(frozen=True)
class Parts:
    """Seconds of the parts of a step.

    Attributes:
        groups_s: seconds that the sampler takes for each group, in the order of the requests, again
            and again; a multiple of PROMPTS.
        judge_s: seconds of a call to the judge, one for each group.
        update_s: seconds of the update, the push of the weights included.
        judge_places: calls to the judge that run at once.
    """

    groups_s: Sequence[float]
    judge_s: float
    update_s: float
    judge_places: int = MANY

    @property
    def rollout_s(self) -> float:
        """The mean seconds of a step's slowest group."""
        steps = range(0, len(self.groups_s), PROMPTS)
        return statistics.fmean(max(self.groups_s[at : at + PROMPTS]) for at in steps)

    def bound_s(self, max_staleness: int) -> float:
        """Return the seconds that a step takes at least, on average.

        The sampler and the update have one step's work at a time, and K + 1 steps share the time
        from the beginning of a gather to the end of its update.
        """
        sampler_s = statistics.fmean(self.groups_s)
        sum_s = self.rollout_s + self.judge_s + self.update_s
        return max(sampler_s, self.update_s, sum_s / (max_staleness + 1))


def pareto_quantiles(mean_s: float, shape: float) -> list[float]:
    """Return the seconds of one step's groups, evenly over a Pareto distribution, by their mean."""
    drawn = [(1 - (place + 0.5) / PROMPTS) ** (-1 / shape) for place in range(PROMPTS)]
    return [mean_s * each / statistics.fmean(drawn) for each in drawn]


def pareto_draws(mean_s: float, shape: float, steps: int, seed: int) -> list[float]:
    """Return the seconds of the groups of some steps, drawn from a Pareto distribution."""
    draw = random.Random(seed)
    drawn = [draw.paretovariate(shape) for _ in range(steps * PROMPTS)]
    return [mean_s * each / statistics.fmean(drawn) for each in drawn]


def kinds(unit_s: float) -> dict[str, Parts]:
    """Return the kinds of steps that are measured, whose shortest parts take `unit_s`."""
    alike = [unit_s] * PROMPTS
    return {
        "equal parts": Parts(alike, unit_s, unit_s),
        "long rollout": Parts([2 * unit_s] * PROMPTS, unit_s, unit_s),
        "long judge": Parts(alike, 2 * unit_s, unit_s),
        "long update": Parts(alike, unit_s, 2 * unit_s),
        "a straggler in each step": Parts(pareto_quantiles(unit_s, 1.2), unit_s, unit_s),
        "tails, drawn": Parts(pareto_draws(unit_s, 1.5, 8, 0), unit_s, unit_s),
    }


def uneven(unit_s: float) -> Parts:
    """Return groups that are done one after the other, at a judge that takes one at a time."""
    groups_s = [unit_s * (1 + place) for place in range(PROMPTS)]
    return Parts(groups_s, unit_s, unit_s, judge_places=1)
