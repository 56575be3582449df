"""What groups of equals earn from one who knows the judge exactly, and what it costs to give less.

Rewards here are the posterior probabilities of beating another member, for a reader of the mean of
some passes who knows the noise and that each kind of group is as frequent.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr

from podium_service.scoring.bootstrap import Array

SD_OF_KIND = {"hard": 1.0, "easy": 4.0, "none": 0.0}  # of the truth; the noise of a pass has sd 1
GROUPS = 20_000
POWERS = (0.0, 0.5, 1.0)  # of the reliability by which advantages are multiplied
BATCH = 8  # groups


def least_share_of_equals(passes: int, size: int) -> float:
    """Return mean squared advantage of groups of equals over that of hard groups.

    No other rewards that are a function of these scores point closer to the true wins.
    """
    [(_, share, _), *_] = shrinking_again(passes, size)
    return share


def shrinking_again(passes: int, size: int) -> Iterator[tuple[float, float, float]]:
    """Multiply advantages by powers of the group's reliability, which changes no order in a group.

    Yields:
        The power; the share of equals, as in `least_share_of_equals`; the mean cosine of the
        advantages with the true ones, by wins, over batches of groups of all kinds.
    """
    rng = np.random.default_rng(0)
    true_GN, advantages_GN, reliability_G = {}, {}, {}
    for kind, sd in SD_OF_KIND.items():
        truth_GN = sd * rng.normal(size=(GROUPS, size))
        means_GN = truth_GN + rng.normal(size=(GROUPS, size)) / np.sqrt(passes)
        ranks_GN = truth_GN.argsort(axis=1).argsort(axis=1) - (size - 1) / 2
        true_GN[kind] = ranks_GN / (size - 1) * bool(sd)
        advantages_GN[kind], reliability_G[kind] = _advantages(means_GN, passes)
    order_G = rng.permutation(len(SD_OF_KIND) * GROUPS)
    true_BM = np.concatenate([*true_GN.values()])[order_G].reshape(-1, BATCH * size)
    is_true_B = (true_BM**2).sum(axis=1) > 0
    for power in POWERS:
        earned_GN = {k: a * reliability_G[k][:, None] ** power for k, a in advantages_GN.items()}
        squares = {kind: float((each**2).mean()) for kind, each in earned_GN.items()}
        earned_BM = np.concatenate([*earned_GN.values()])[order_G].reshape(true_BM.shape)
        a, b = earned_BM[is_true_B], true_BM[is_true_B]
        cosine_B = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
        yield power, squares["none"] / squares["hard"], float(cosine_B.mean())


def _advantages(means_GN: Array, passes: int) -> tuple[Array, Array]:
    """Return the advantages, and the reliability of each group, shape (G,)."""
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
    advantages_GN = rewards_GN - rewards_GN.mean(axis=1, keepdims=True)
    return np.asarray(advantages_GN), np.asarray(weights_GK @ (variances_K / totals_K))
