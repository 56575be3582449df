"""Turn a group's estimate into ranks and rewards in [0, 1].

To add a reward:
1. Write a function `Estimate -> list[float]` here, one reward per distinct trajectory. It is called
   only where scores differ; in other groups every reward is .5.
2. Enter it in `REWARDS`, and in `COMPARING` if it is a mean over the other trajectories.
3. Add its name to `RewardKind` of the judges' settings.
"""

from collections.abc import Callable, Sequence
from math import fsum, pi

import numpy as np
from scipy.special import expit

from podium_service.scoring.estimate import NATS_PER_SCORE, Estimate, Scale
from podium_service.scoring.least_squares import Array
from podium_service.scoring.posterior import certain, pair_chances, win_probabilities

UNDECIDED_REWARD = 0.5


def mean_ranks(scores: Sequence[float], weights: Sequence[int]) -> list[float]:
    """Rank scores, 1 for the highest; ties share the mean rank.

    Args:
        scores: one per distinct trajectory.
        weights: number of trajectories that each of them stands for.
    """
    pairs = list(zip(scores, weights, strict=True))
    ranks = []
    for score in scores:
        better = sum(weight for other, weight in pairs if other > score)
        equal = sum(weight for other, weight in pairs if other == score)
        ranks.append(better + (equal + 1) / 2)
    return ranks


def compute_rewards(estimate: Estimate, kind: str, num_gated: int = 0) -> list[float]:
    """Return one reward in [0, 1] per distinct trajectory; .5 for all where all scores tie.

    Args:
        estimate: the scores of the trajectories that passed the gates.
        kind: a key of `REWARDS`.
        num_gated: the number of distinct trajectories that failed a gate. For rewards that compare
            (`COMPARING`), each of these is one more that every other trajectory beats.
    """
    num_judged = len(estimate.scores)
    if len(set(estimate.scores)) == 1:
        rewards = [UNDECIDED_REWARD] * num_judged
    else:
        rewards = REWARDS[kind](estimate)
    if not num_gated or kind not in COMPARING:
        return rewards
    num_others = num_judged - 1 + num_gated
    return [((num_judged - 1) * reward + num_gated) / num_others for reward in rewards]


def win_probability(estimate: Estimate) -> list[float]:
    """Return the probability of each trajectory to beat a random other one of its group.

    What it takes to beat depends on the scale of the scores: on the judge's own points, to be
    better, however little; where the judge told probabilities, that it would say so.
    """
    return _WIN_PROBABILITIES[estimate.scale](estimate)


def win_by_points(estimate: Estimate) -> list[float]:
    """Return the posterior probability of each trajectory to be better than a random other one.

    Where it is certain that there is no error, the sign of the difference decides.
    """
    return _mean_over_others(win_probabilities(estimate.posterior))


def win_by_choice(estimate: Estimate) -> list[float]:
    """Return the probability that the judge would choose each trajectory over a random other one.

    The scores are log-probabilities of being chosen. By Luce's choice axiom, i is chosen over j
    with the probability sigmoid(d), d the difference of their log-probabilities. Given the passes,
    d is normal with the shrunk difference as its mean, and sigmoid(d) is averaged over it. So a
    judge that repeats .52 against .48 without noise earns .52, and noise moves that toward .5.

    Source:
        Luce 1959, "Individual Choice Behavior"; for the average of a sigmoid under a normal
        distribution MacKay 1992, "The Evidence Framework Applied to Classification Networks",
        Neural Computation 4(5).
    """
    posterior = estimate.posterior
    if estimate.stderr is None:  # nothing is known of the noise, so the judge's word is taken
        posterior = certain(estimate.scores, [0.0] * len(estimate.scores))
    return _mean_over_others(pair_chances(posterior, _chance_of_choice))


def _chance_of_choice(difference_CII: Array, variance_CII: Array) -> Array:
    variance_CII = NATS_PER_SCORE**2 * variance_CII
    chance_CII = expit(NATS_PER_SCORE * difference_CII / np.sqrt(1 + pi / 8 * variance_CII))
    return np.asarray(chance_CII)


def win_by_answers(estimate: Estimate) -> list[float]:
    """Return the probability that the judge would say yes to each one rather than to another.

    The scores are probabilities P of a yes. If the judge answers about i and about j at random by
    these, i wins if only i gets a yes, and half if both get the same answer:
    P_i (1 - P_j) + (P_i P_j + (1 - P_i) (1 - P_j)) / 2 = 1/2 + (P_i - P_j) / 2.
    """
    means = np.clip(estimate.scores, 0.0, 1.0)
    return _mean_over_others(0.5 + (means[:, None] - means[None, :]) / 2)


def _mean_over_others(wins: Array) -> list[float]:
    """Average each row without the diagonal, which is .5: a trajectory does not meet itself."""
    means = ((fsum(row) - 0.5) / (len(wins) - 1) for row in wins.tolist())
    return [min(1.0, max(0.0, mean)) for mean in means]  # rounding may leave [0, 1]


_WIN_PROBABILITIES: dict[Scale, Callable[[Estimate], list[float]]] = {
    "points": win_by_points,
    "log_probability": win_by_choice,
    "probability": win_by_answers,
}


def rank_reward(estimate: Estimate) -> list[float]:
    """Return 1 for the best, 0 for the worst, and even steps between; ties share the mean."""
    ranks = mean_ranks(estimate.scores, [1] * len(estimate.scores))
    return [(len(ranks) - rank) / (len(ranks) - 1) for rank in ranks]


def score_reward(estimate: Estimate) -> list[float]:
    """Return the shrunk scores, clipped to [0, 1]."""
    return [min(1.0, max(0.0, score)) for score in estimate.scores]


def mix_verified_rewards(
    rewards: Sequence[float], verified: Sequence[Sequence[float]], weight: float
) -> list[float]:
    """Give verified rewards a share of `weight` in the judge's rewards.

    Args:
        rewards: one per distinct trajectory.
        verified: for each, the verified rewards of the trajectories it stands for; the mean counts.
        weight: in [0, 1].
    """
    if not weight:
        return list(rewards)
    means = (fsum(each) / len(each) if len({*each}) > 1 else each[0] for each in verified)
    pairs = zip(rewards, means, strict=True)
    return [(1 - weight) * reward + weight * mean for reward, mean in pairs]


REWARDS: dict[str, Callable[[Estimate], list[float]]] = {
    "win_probability": win_probability,
    "rank": rank_reward,
    "score": score_reward,
}
COMPARING = {"win_probability", "rank"}  # these are means over the other trajectories of the group
