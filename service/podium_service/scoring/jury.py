"""Combine several jurors' estimates of the same items into one that no single juror can bend.

Each juror scores on a scale of its own, so jurors are first brought to one scale, then weighted by
their noise, then averaged. A vote (one juror's score of one item) that differs from the others by
more than noise is dropped (see `overrule`), and a juror that loses more than a quarter of its votes
is rejected. Of two jurors nobody can tell which one is wrong, so their disagreement widens the
standard errors instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium_service.scoring import overrule
from podium_service.scoring.estimate import Estimate
from podium_service.scoring.overrule import LEAST_VARIANCE, Flags, Floats
from podium_service.scoring.posterior import certain, expected_reliability, mix_ratios, shrink
from podium_service.scoring.signal_ratio import PRIOR_R, p_value, posterior_ratios

# A juror is rejected beyond this share of overruled items. Rejecting at the first item does worse:
# with 8 items and 3 jurors of 4 passes (truth and noise of sd 1), one of them fooled into the top
# score for one item, the attacker's reward rises by .016 against .010, and tau falls from .811 to
# .788.
_MAX_OVERRULED = 0.25
# This is the sampling variance of the logarithm of a juror's noise. Without the shrinkage that it
# causes, and that of spreads, equal jurors lose .01 of tau.
_LOG_NOISE_VARIANCE = 0.35
_LEAST_NOISE, _LEAST_SIGNAL = 0.02, 0.02  # shares of a juror's variance
# A juror without any reliability in its own passes counts this share of one that is fully reliable.
# Squared cosines of rewards with the truth, three jurors of 4 passes: .883 with 1, .882 with .5 and
# .877 with 0; and where one of the three judges at random: .784, .809 and .830.
_UNRELIABLE_WEIGHT = 0.5
_ITEM_PRIOR_DF = 4.0  # degrees of freedom of the prior on an item's disagreement


@dataclass(frozen=True, slots=True)
class Juror:
    """One juror's estimate of N items.

    Attributes:
        name: unique in its jury.
        means: scores on the juror's own scale, shape (N,).
        stderr: standard error of the means, one for all or one each; None if not known, and then
            `reliability` implies the noise.
        reliability: of the means, in [0, 1]; 0.5 if not known.
    """

    name: str
    means: list[float]
    stderr: float | list[float] | None
    reliability: float


@dataclass(frozen=True, slots=True)
class JurorReport:
    """The weight and agreement of one juror."""

    name: str
    weight: float  # share in the combined means; sums to 1 over jurors, 0 if rejected
    agreement: float  # Kendall's tau_b with the others combined; 0 if either ties all items
    status: Literal["counted", "rejected"]  # rejected: too many of its votes were overruled
    overruled: list[int]  # the items on which its vote was dropped


@dataclass(frozen=True, slots=True)
class JuryEstimate(Estimate):
    """The combined estimate, on the jurors' mean scale; disagreement adds to its errors."""

    stderr: list[float]
    reliability: float
    jurors: Sequence[JurorReport] = ()


def combine(jurors: Sequence[Juror]) -> JuryEstimate:
    """Combine one or more jurors' estimates of the same two or more items.

    Permuting jurors or items permutes the result, because all arithmetic runs over jurors by name
    and over items by their scores.

    Raises:
        ValueError: If there is no juror, two share a name, or they do not score the same items.
    """
    if not jurors or len({juror.name for juror in jurors}) < len(jurors):
        raise ValueError("a jury needs jurors with different names")
    if len({len(juror.means) for juror in jurors}) > 1 or len(jurors[0].means) < 2:
        raise ValueError("jurors must score the same two or more items")
    by_name = sorted(jurors, key=lambda juror: juror.name)
    means = np.array([[round(mean, 12) for mean in juror.means] for juror in by_name])
    noise = np.array([_mean_variances(juror) for juror in by_name])
    order = np.lexsort([*noise, *means])
    back = np.argsort(order)
    scores = overrule.JurorScores(means[:, order], noise[:, order])
    reliabilities = np.array([juror.reliability for juror in by_name], dtype=np.float64)
    votes = _weigh_votes(scores, reliabilities)
    reports = {
        juror.name: JurorReport(
            name=juror.name,
            weight=round(float(votes.weights[k]), 12),
            agreement=_tau_b(scores.means[k], _average_others(votes, k)),
            status="rejected" if votes.rejected[k] else "counted",
            overruled=[int(item) for item in np.flatnonzero(~votes.counted[k][back])],
        )
        for k, juror in enumerate(by_name)
    }
    return replace(_average(votes, back), jurors=[reports[juror.name] for juror in jurors])


def _mean_variances(juror: Juror) -> list[float]:
    """Return the variance of each mean, shape (N,)."""
    if juror.stderr is None:
        variance = float(np.var(np.sort(juror.means), ddof=1))
        return [(1 - juror.reliability) * variance] * len(juror.means)
    each = juror.stderr if isinstance(juror.stderr, list) else [juror.stderr] * len(juror.means)
    return [stderr**2 for stderr in each]


@dataclass(frozen=True, slots=True)
class _Votes:
    """The votes on one scale, and their weights; J jurors, N items."""

    counted: Flags  # votes that are not overruled, shape (J, N)
    rejected: Flags  # shape (J,)
    weights: Floats  # shape (J,), summing to 1; 0 for a juror that is rejected or ties all items
    scores: Floats  # on one scale with centre 0 and spread 1, shape (J, N)
    errors: Floats  # variances of the scores by noise and disagreement, shape (J, N)
    centre: float  # of the common scale, on the jurors' mean scale
    spread: float  # of the common scale, on the jurors' mean scale
    df: float  # degrees of freedom of the disagreement; 0 for one juror


def _weigh_votes(jurors: overrule.JurorScores, reliabilities: Floats) -> _Votes:
    counted = np.ones(jurors.means.shape, dtype=bool)
    differing = np.ptp(jurors.means, axis=1) > 0
    counted[differing] = overrule.select_votes(jurors.select(differing))
    rejected = (~counted).mean(axis=1) > _MAX_OVERRULED
    included = differing & ~rejected
    undisputed = counted[included].all(axis=0)
    if undisputed.sum() < min(3, undisputed.size):
        undisputed[:] = True
    scores, errors = np.zeros(counted.shape), np.ones(counted.shape)
    weights, centre, spread = np.zeros(len(counted)), float(jurors.means.mean()), 0.0
    if included.any():
        aligned = overrule.align(jurors.select(included), undisputed[None])
        scores[included] = aligned.scores[0]
        errors[included] = aligned.noise[0] + aligned.interaction
        weights[included] = _juror_weights(aligned, reliabilities[included])
        centre = float(aligned.centres[0] @ weights[included])
        spread = float(aligned.spreads[0] @ weights[included])
    df = max(0.0, (float(included.sum()) - 1) * (float(undisputed.sum()) - 1))
    return _Votes(counted, rejected, weights, scores, errors, centre, spread, df)


def _juror_weights(aligned: overrule.AlignedScores, reliabilities: Floats) -> Floats:
    """Return the weights of the best linear predictor, summing to 1, shape (J,).

    They are sqrt(signal) / (noise + interaction), each as a share of a juror's variance.
    """
    noise = np.clip(aligned.noise[0].mean(axis=1), _LEAST_NOISE, 1.0)
    noise = np.exp(overrule.shrink_to_mean(np.log(noise)[None], _LOG_NOISE_VARIANCE)[0])
    weights = np.sqrt(np.maximum(1 - noise, _LEAST_SIGNAL)) / (noise + aligned.interaction)
    weights *= _UNRELIABLE_WEIGHT + (1 - _UNRELIABLE_WEIGHT) * reliabilities
    return np.asarray(weights / weights.sum())


def _average(votes: _Votes, order: NDArray[np.intp]) -> JuryEstimate:
    """Average the votes; item order[k] comes at place k of the estimate."""
    num_items = len(order)
    weights = votes.weights[:, None] * votes.counted
    total = weights.sum(axis=0)
    if not total.all():  # every juror ties all items
        tied = [round(votes.centre, 12)] * num_items
        stderr = [0.0] * num_items
        return JuryEstimate(tied, tied, stderr, 0.0, certain(tied, reliability=0.0))
    weights /= total
    scores = (weights * votes.scores).sum(axis=0)
    variances = (weights**2 * votes.errors).sum(axis=0)
    error, between = float(variances.mean()), float(np.var(np.sort(scores), ddof=1))
    df = votes.df or np.inf  # the error of a single juror is known from its own estimate
    f = between / max(error, LEAST_VARIANCE)
    weights_R = np.round(posterior_ratios(PRIOR_R, f, 1.0, num_items - 1, df), 12)
    is_exact = error <= LEAST_VARIANCE
    # The spread is cut where scores would leave [0, 1]; this keeps the order and equal gaps.
    low, high = float(scores.min()), float(scores.max())
    centre = min(1.0, max(0.0, votes.centre))
    spread = min(votes.spread, -centre / low if low < 0 else np.inf)
    spread = min(spread, (1 - centre) / high if high > 0 else np.inf)
    errors = spread * np.sqrt(variances * _error_inflation(votes, scores, weights > 0))
    rounded = np.round(centre + spread * scores, 12)[order].tolist()
    means = [min(1.0, max(0.0, mean)) for mean in rounded]
    stderr = np.round(errors, 12)[order].tolist()
    posterior = certain(means, stderr) if is_exact else mix_ratios(means, stderr, weights_R, 1.0)
    reliability = round(expected_reliability(posterior), 12)
    return JuryEstimate(
        means=means,
        scores=shrink(means, reliability),
        stderr=stderr,
        reliability=reliability,
        posterior=posterior,
        p_value=p_value(between, error, num_items - 1, df, negligible=LEAST_VARIANCE),
    )


def _error_inflation(votes: _Votes, scores: Floats, counted: Flags) -> Floats:
    """Return the factor, >= 1, by which votes on each item differ beyond their errors, shape (N,).

    The factor of an item is shrunk to 1 as if there were `_ITEM_PRIOR_DF` more votes.
    """
    squares: Floats = (votes.scores - scores) ** 2 / np.maximum(votes.errors, LEAST_VARIANCE)
    chi_square = (squares * counted).sum(axis=0)
    df = np.maximum(counted.sum(axis=0) - 1, 0)
    return np.asarray(np.maximum(1.0, (_ITEM_PRIOR_DF + chi_square) / (_ITEM_PRIOR_DF + df)))


def _average_others(votes: _Votes, juror: int) -> Floats:
    """Return the weighted scores without one juror, shape (N,)."""
    weights = votes.weights[:, None] * votes.counted
    weights[juror] = 0.0
    total = weights.sum(axis=0)
    scores = (weights * votes.scores).sum(axis=0) / np.where(total > 0, total, 1.0)
    return np.asarray(np.round(scores, 12))


def _tau_b(first: Floats, second: Floats) -> float:
    """Return Kendall's tau_b; 0 where either side ties all items."""
    signs = [np.sign(each[:, None] - each[None, :]) for each in (first, second)]
    pairs = float((signs[0] ** 2).sum()) * float((signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum()) / sqrt(pairs) if pairs else 0.0
