"""The least advantage that groups of equals can be left, by anyone who knows the judge exactly."""

import numpy as np
from scipy.special import ndtr

from podium_service.scoring.bootstrap import Array

SD_OF_KIND = {"hard": 1.0, "easy": 4.0, "none": 0.0}  # of the truth; the noise of a pass has sd 1
GROUPS = 20_000


def least_share_of_equals(passes: int, size: int) -> float:
    """Return mean squared advantage of groups of equals over that of hard groups, at the best.

    Rewards are the posterior probabilities of beating another member, for a reader of the mean of
    so many passes who knows the noise and that each kind of group is as frequent: no other rewards
    that are a function of these scores tell more.
    """
    rng = np.random.default_rng(0)
    squares = {}
    for kind in ("none", "hard"):
        spread = np.sqrt(SD_OF_KIND[kind] ** 2 + 1 / passes)
        means_GN = rng.normal(size=(GROUPS, size)) * spread
        squares[kind] = float((_advantages(means_GN, passes) ** 2).mean())
    return squares["none"] / squares["hard"]


def _advantages(means_GN: Array, passes: int) -> Array:
    means_GN = means_GN - means_GN.mean(axis=1, keepdims=True)
    size, squares_G = means_GN.shape[1], (means_GN**2).sum(axis=1)
    variances_K = np.array(list(SD_OF_KIND.values())) ** 2
    totals_K = variances_K + 1 / passes
    logs_GK = -(size - 1) / 2 * np.log(totals_K) - squares_G[:, None] / 2 / totals_K
    weights_GK = np.exp(logs_GK - logs_GK.max(axis=1, keepdims=True))
    weights_GK /= weights_GK.sum(axis=1, keepdims=True)
    gaps_GNN = means_GN[:, :, None] - means_GN[:, None, :]
    rewards_GN = np.full(means_GN.shape, 0.5)
    for variance, total, weight_G in zip(variances_K, totals_K, weights_GK.T, strict=True):
        if variance:
            share = variance / total
            wins_GNN = ndtr(share * gaps_GNN / np.sqrt(2 * share / passes))
            rewards_GN += weight_G[:, None] * (wins_GNN.sum(axis=2) - size / 2) / (size - 1)
    return np.asarray(rewards_GN - rewards_GN.mean(axis=1, keepdims=True))
