"""Say what is known of a group's scores: a mixture of normal distributions over signal ratios.

Nobody knows how much signal a group has, so each candidate signal ratio gives one component:
the scores as they are if that ratio is true. Its weight is the ratio's posterior probability.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, sqrt

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
    shares = reliabilities(information).tolist()
    return tuple(
        Component(weight, shrink(means, share), [sqrt(share) * each for each in stderr], share)
        for weight, share in zip(weights_R.tolist(), shares, strict=True)
    )


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
        chance: returns the chance of each pair; of the mean and the variance of its difference, and
            .5 where they are zero.
    """
    num_items = len(posterior[0].means)
    chances_II = np.full((num_items, num_items), 0.5)
    for component in posterior:
        means_I, variances_I = np.array(component.means), np.array(component.stderr) ** 2
        differences_II = means_I[:, None] - means_I[None, :]
        in_component_II = chance(differences_II, variances_I[:, None] + variances_I[None, :])
        chances_II += component.weight * (in_component_II - 0.5)
    return np.asarray(np.clip(chances_II, 0.0, 1.0))  # the sum of the weights is rounded


def _chance_of_better(difference_II: Array, variance_II: Array) -> Array:
    errors_II = np.sqrt(variance_II)
    has_error_II = errors_II > 0
    z_II = difference_II / np.where(has_error_II, errors_II, 1.0)
    return np.where(has_error_II, ndtr(z_II), 0.5 + np.sign(difference_II) / 2)
