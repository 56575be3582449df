"""Score estimates -> ranks and rewards in [0, 1].

To add a reward: write a function `Estimate -> list[float]`, enter it in `REWARDS`, and add its name
to `config.RewardKind`. It is called only for groups with signal; without signal all get .5.
"""

from collections.abc import Callable, Sequence
from math import fsum, sqrt

import numpy as np
from scipy.special import ndtr

from podium_service.scoring.estimate import Estimate

NO_SIGNAL_REWARD = 0.5


def mean_ranks(scores: Sequence[float], weights: Sequence[int]) -> list[float]:
    """Rank 1 for the highest score; ties share the mean rank.

    Args:
        scores: one per distinct trajectory.
        weights: how many trajectories each one stands for.
    """
    pairs = list(zip(scores, weights, strict=True))
    ranks = []
    for score in scores:
        better = sum(weight for other, weight in pairs if other > score)
        equal = sum(weight for other, weight in pairs if other == score)
        ranks.append(better + (equal + 1) / 2)
    return ranks


def compute_rewards(estimate: Estimate, kind: str) -> list[float]:
    """One reward in [0, 1] per distinct trajectory; .5 for all where the group has no signal."""
    if not estimate.is_significant:
        return [NO_SIGNAL_REWARD] * len(estimate.means)
    return REWARDS[kind](estimate)


def win_probability(estimate: Estimate) -> list[float]:
    """The posterior probability of beating a random other member of the group.

    `mean over j of Phi(sqrt(reliability) * (m_i - m_j) / sqrt(se_i^2 + se_j^2))`, the posterior of
    a normal prior with the group's variance. Without any error the sign decides.
    """
    means = np.array(estimate.means)
    errors = np.array(estimate.stderr or [0.0] * len(means)) ** 2
    ahead = means[:, None] - means[None, :]
    spread = np.sqrt(errors[:, None] + errors[None, :])
    known = spread > 0
    surely = 0.5 + np.sign(ahead) / 2
    likely = ndtr(sqrt(estimate.shrinkage) * ahead / np.where(known, spread, 1.0))
    wins = np.where(known, likely, surely).tolist()
    return [(fsum(row) - 0.5) / (len(means) - 1) for row in wins]  # nobody meets itself


def rank_reward(estimate: Estimate) -> list[float]:
    """1 for the best, 0 for the worst, even steps between; ties share."""
    ranks = mean_ranks(estimate.scores, [1] * len(estimate.scores))
    return [(len(ranks) - rank) / (len(ranks) - 1) for rank in ranks]


def score_reward(estimate: Estimate) -> list[float]:
    """The shrunk score itself."""
    return [min(1.0, max(0.0, score)) for score in estimate.scores]


def mix_verified_rewards(
    judged: Sequence[float], verified: Sequence[Sequence[float]], weight: float
) -> list[float]:
    """Judged rewards with a share of verified ones.

    Args:
        judged: one per distinct trajectory.
        verified: of each trajectory that it stands for; equal ones get their mean.
        weight: the share, in [0, 1].
    """
    if not weight:
        return list(judged)
    pairs = zip(judged, verified, strict=True)
    means = (
        (mine, fsum(each) / len(each) if len({*each}) > 1 else each[0]) for mine, each in pairs
    )
    return [(1 - weight) * mine + weight * mean for mine, mean in means]


REWARDS: dict[str, Callable[[Estimate], list[float]]] = {
    "win_probability": win_probability,
    "rank": rank_reward,
    "score": score_reward,
}
