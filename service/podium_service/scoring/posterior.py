"""Say what is known of a group's scores: a mixture of normal distributions over signal ratios.

Nobody knows how much signal a group has, so each candidate signal ratio gives one component:
the scores as they are if that ratio is true. Its weight is the ratio's posterior probability.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from scipy.special import ndtr

from podium_service.scoring.least_squares import Array, Fit
from podium_service.scoring.signal_ratio import RATIOS_R, reliabilities


@dataclass(frozen=True, slots=True)
class Component:
    """The distribution of a group's scores if one signal ratio is true; errors are independent."""

    weight: float  # the weights of a group's components sum to 1
    means: list[float]
    stderr: list[float]
    reliability: float  # share of the variance between unshrunk means that is signal


Posterior = tuple[Component, ...]


def certain(
    means: Sequence[float], stderr: Sequence[float] | None = None, reliability: float = 1.0
) -> Posterior:
    """Return a posterior of one component, for scores that need no further shrinking.

    The scores have no error where no standard errors are given.
    """
    return (Component(1.0, [*means], [*(stderr or [0.0] * len(means))], reliability),)


def shrink(means: Sequence[float], share: float) -> list[float]:
    """Keep only a share of each mean's distance from the group mean."""
    centre = fsum(means) / len(means)
    return [centre + share * (mean - centre) for mean in means]


def mix_ratios(
    means: Sequence[float], stderr: Sequence[float], weights_R: Array, information: float
) -> Posterior:
    """Return the posterior of means of which each has about the same error.

    Args:
        means: estimated scores, not shrunk.
        stderr: their standard errors.
        weights_R: posterior probability of each of `RATIOS_R`.
        information: passes that the means rest on.
    """
    is_possible_R = weights_R > 0  # the others would change nothing
    weights_R, shares_R = weights_R[is_possible_R], reliabilities(information)[is_possible_R]
    centre = fsum(means) / len(means)
    means_RI = centre + shares_R[:, None] * (np.array(means) - centre)
    stderr_RI = np.sqrt(shares_R)[:, None] * np.array(stderr)
    columns = (weights_R, means_RI, stderr_RI, shares_R)
    return tuple(map(Component, *(column_R.tolist() for column_R in columns)))


def predict_ratios(fit: Fit, ms_error: float, weights_R: Array) -> Posterior:
    """Return the posterior of an incomplete design, which knows some trajectories better.

    Least squares follows every chain of comparisons to its end and adds up the errors on the way.
    The posterior mean under a normal prior with the group's variance does not.

    Source:
        Best linear unbiased prediction: Robinson 1991, "That BLUP is a good thing", Statistical
        Science 6(1).
    """
    num_items = len(fit.effects_I)
    effects_I = np.array(fit.effects_I)
    eigenvalues_I, vectors_II = np.linalg.eigh(fit.laplacian_II)
    # The group's mean is the eigenvector of the eigenvalue 0, which comes first.
    eigenvalues_I, vectors_II = eigenvalues_I[1:], vectors_II[:, 1:]
    projected_I = vectors_II.T @ effects_I
    inflation = ms_error * num_items / (num_items - 1)  # as if the group mean were known
    components = []
    shares_R = reliabilities(fit.information)
    for weight, ratio, share in zip(weights_R, RATIOS_R, shares_R, strict=True):
        variances_I = ratio / (eigenvalues_I * ratio + 1)
        means_I = effects_I.mean() + vectors_II @ (eigenvalues_I * variances_I * projected_I)
        stderr_I = np.sqrt(inflation * (vectors_II**2 @ variances_I))
        means, stderr = means_I.round(12).tolist(), stderr_I.round(12).tolist()
        components.append(Component(float(weight), means, stderr, float(share)))
    return tuple(components)


def expected_reliability(posterior: Posterior, growth: float = 1.0) -> float:
    """Return the mean reliability over all components, after `growth` times as many passes.

    Source:
        Spearman 1910 and Brown 1910, British Journal of Psychology 3(3).
    """
    pairs = ((each.weight, each.reliability) for each in posterior)
    return fsum(weight * growth * r / (1 - r + growth * r) for weight, r in pairs)


def average(posterior: Posterior) -> tuple[list[float], list[float]]:
    """Return the mean and the standard deviation of each score over all components."""
    weights_C = np.array([each.weight for each in posterior])
    means_CI = np.array([each.means for each in posterior])
    variances_CI = np.array([each.stderr for each in posterior]) ** 2
    means_I = weights_C @ means_CI
    variances_I = weights_C @ (variances_CI + (means_CI - means_I) ** 2)
    return means_I.round(12).tolist(), np.sqrt(variances_I).round(12).tolist()


def win_probabilities(posterior: Posterior) -> Array:
    """Return the probability that i is better than j, shape (I, I); .5 on the diagonal.

    Where a component has no error, the sign of the difference decides.
    """
    return pair_chances(posterior, _chance_of_better)


def pair_chances(posterior: Posterior, chance: Callable[[Array, Array], Array]) -> Array:
    """Average a chance over all components, for each pair, shape (I, I).

    All arithmetic is by elements, so the order of trajectories changes no bit, and exact ties are
    exactly .5.

    Args:
        posterior: of the scores.
        chance: returns the chance of each pair in each component, shape (C, I, I), of the mean and
            the variance of its difference; .5 where they are zero.
    """
    weights_C = np.array([each.weight for each in posterior])
    means_CI = np.array([each.means for each in posterior])
    variances_CI = np.array([each.stderr for each in posterior]) ** 2
    differences_CII = means_CI[:, :, None] - means_CI[:, None, :]
    chances_CII = chance(differences_CII, variances_CI[:, :, None] + variances_CI[:, None, :])
    # Summed from .5 on, so that the chances of a tie, which are .5, add exactly nothing.
    chances_II = 0.5 + (weights_C[:, None, None] * (chances_CII - 0.5)).sum(axis=0)
    # The sum of the weights is rounded. `numpy.clip` would take longer than all of the above.
    return np.asarray(np.minimum(np.maximum(chances_II, 0.0), 1.0))


def _chance_of_better(difference_CII: Array, variance_CII: Array) -> Array:
    has_error_CII = variance_CII > 0
    z_CII = difference_CII / np.sqrt(np.where(has_error_CII, variance_CII, 1.0))
    return np.where(has_error_CII, ndtr(z_CII), 0.5 + np.sign(difference_CII) / 2)
