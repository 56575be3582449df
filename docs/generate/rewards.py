"""The worked example of the page about rewards, computed by the service's own code."""

from math import sqrt

from docs.generate.tables import table
from podium_service.scoring.estimate import Estimate, estimate_passes
from podium_service.scoring.least_squares import Pass
from podium_service.scoring.posterior import win_probabilities
from podium_service.scoring.rewards import REWARDS

NAMES = "ABCD"
# Made up: D is worse than the others, and the judge favours the first slots of a list.
PASSES: list[Pass] = [
    ([0, 1, 2, 3], [0.9, 0.7, 0.7, 0.4]),
    ([3, 2, 1, 0], [0.4, 0.6, 0.8, 0.7]),
    ([2, 3, 0, 1], [0.8, 0.5, 0.6, 0.4]),
    ([1, 0, 3, 2], [0.8, 0.6, 0.2, 0.4]),
]


def example() -> Estimate:
    """Return what the four passes say of the four attempts."""
    return estimate_passes(len(NAMES), PASSES)


def beats(ahead: int, behind: int) -> float:
    """Return the probability that one attempt is better than another."""
    return float(win_probabilities(example().posterior)[ahead, behind])


def worked_example() -> str:
    """Return the example: what the judge said, and each step from there to the rewards."""
    found = example()
    said = [_pass_row(index) for index in range(len(PASSES))]
    rewards = {kind: reward(found) for kind, reward in REWARDS.items()}
    chances = [
        [f"**{mine}**", *_chances(i), f"**{rewards['win_probability'][i]:.3f}**"]
        for i, mine in enumerate(NAMES)
    ]
    kinds = [
        [f"**{name}**", f"{found.means[i]:.3f}", *(f"{each[i]:.3f}" for each in rewards.values())]
        for i, name in enumerate(NAMES)
    ]
    scores = ", ".join(f"{n} {mean:.3f}" for n, mean in zip(NAMES, found.means, strict=True))
    average = sum(rewards["win_probability"]) / len(NAMES)
    return f"""\
The judge is shown the four attempts A, B, C and D four times, each time in another order. It gives
each a score:

{table(("pass", "order shown", *NAMES), said)}
**1. Scores.** The mean of each pass is removed, because it only tells the mood of the judge. The
judge's liking for early or late slots is removed, too; it can be told from the attempts, because in
balanced orders each attempt stands early and late. What is left is averaged. The scores are
{scores}.

**2. Noise.** The scores of one attempt still differ from pass to pass. This is the noise. From it
follows the standard error of each score: {_error(found):.3f}.

**3. Reliability.** The scores differ by more than the noise explains. The share of their variance
that is expected not to be noise is the reliability: {found.shrinkage:.3f}. Four attempts are few,
so this is a mean over everything between no signal at all and no noise at all, each weighed by how
well it explains the scores.

**4. Win probabilities.** A is ahead of B by {found.means[0] - found.means[1]:.3f}. The standard
error of this difference is {sqrt(2) * _error(found):.3f}. So A is better than B with a probability
of only {beats(0, 1):.3f}. Each row gives the probabilities that one attempt beats the others. Their
mean is its reward:

{table(("", *(f"beats {name}" for name in NAMES), "reward"), chances)}
The rewards average {average:.1f}, as they do in every group. This is what the three kinds of reward
make of the group:

{table(("", "score before shrinking", *(f"`{kind}`" for kind in rewards)), kinds)}"""


def _error(found: Estimate) -> float:
    assert found.stderr is not None
    return found.stderr[0]


def _chances(item: int) -> list[str]:
    return ["–" if item == j else f"{beats(item, j):.3f}" for j in range(len(NAMES))]


def _pass_row(index: int) -> list[str]:
    order, scores = PASSES[index]
    by_name = {NAMES[item]: score for item, score in zip(order, scores, strict=True)}
    return [str(index + 1), " ".join(NAMES[i] for i in order), *(f"{by_name[n]:g}" for n in NAMES)]
