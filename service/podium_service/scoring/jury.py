"""Several jurors' estimates of the same items -> one estimate that no single juror can bend.

Each juror scores on a scale of its own, so jurors are first brought to one scale (centre and
spread), then weighted by how sure they are, then averaged. A juror that disagrees with the rest on
an item beyond its own noise (`overrule`) loses its say on that item; one that loses more than a
quarter of the items is rejected. Of two jurors nobody can tell who is wrong: then the disagreement
widens the standard errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

import numpy as np

from podium_service.scoring.overrule import (
    LEAST_VARIANCE,
    Aligned,
    Bench,
    Flags,
    Floats,
    align,
    overrule,
    toward_mean,
)
from podium_service.scoring.significance import SIGNIFICANCE_LEVEL, p_value

# Share of the items; beyond it the juror is rejected. Rejecting at the first item does worse: with
# 8 items and 3 jurors of 4 passes (truth and noise of sd 1), one of them fooled into the top score
# for one item, the attacker's reward rises by .016 against .010, and tau falls to .788, not .811.
_MAX_OVERRULED = 0.25
_LOG_NOISE_VARIANCE = 0.35  # of a juror's share of noise, by chance; taking it as it comes, with
# spreads, costs .01 of tau among equal jurors
_LEAST_NOISE, _LEAST_SIGNAL = 0.02, 0.02  # shares of a juror's variance
_DOUBT = 0.5  # weight of a juror whose own passes show no signal, against one whose do
_ITEM_PRIOR = 4.0  # degrees of freedom that the jury's disagreement has against one item's


@dataclass(frozen=True, slots=True)
class Juror:
    """One juror's estimate of N items.

    Attributes:
        name: unique in its jury.
        means: scores on the juror's own scale, shape (N,).
        stderr: standard error of the means, one for all or one each; None if not known, then
            `reliability` tells the noise.
        reliability: of the juror's scores, in [0, 1]; 0 if its own passes show no signal.
    """

    name: str
    means: list[float]
    stderr: float | list[float] | None
    reliability: float


@dataclass(frozen=True, slots=True)
class JurorReport:
    """How one juror fared.

    Attributes:
        weight: share in the combined means; sums to 1 over jurors, 0 if rejected.
        agreement: Kendall's tau_b with the others combined, in [-1, 1]; 0 if either ties all.
        status: rejected if it was overruled on more than a quarter of the items.
        overruled: the items on which its say was dropped.
    """

    name: str
    weight: float
    agreement: float
    status: Literal["counted", "rejected"]
    overruled: list[int]


@dataclass(frozen=True, slots=True)
class JuryEstimate:
    """The combined estimate.

    Attributes:
        means: in [0, 1], on the jurors' mean scale, shape (N,).
        stderr: of each mean, jurors' disagreement included, shape (N,).
        reliability: share of the variance between means that is signal; 0 without signal.
        is_significant: whether the items differ by more than noise and disagreement explain, at
            level .05.
        jurors: one report each, in the order of the jurors given.
    """

    means: list[float]
    stderr: list[float]
    reliability: float
    is_significant: bool
    jurors: list[JurorReport]


def combine(jurors: Sequence[Juror]) -> JuryEstimate:
    """Combine one or more jurors' estimates of the same two or more items.

    Permuting jurors or items permutes the result: all arithmetic runs over jurors by name and
    items by what the jurors say of them.

    Raises:
        ValueError: If there is no juror, two share a name, or they do not score the same items.
    """
    if not jurors or len({juror.name for juror in jurors}) < len(jurors):
        raise ValueError("a jury needs jurors with different names")
    if len({len(juror.means) for juror in jurors}) > 1 or len(jurors[0].means) < 2:
        raise ValueError("jurors must score the same two or more items")
    ranks = sorted(range(len(jurors)), key=lambda j: jurors[j].name)
    means = np.array([[round(mean, 12) for mean in jurors[j].means] for j in ranks])
    noise = np.array([_noise(jurors[j]) for j in ranks])
    order = np.lexsort([*noise, *means])
    back = np.argsort(order)
    bench = Bench(means[:, order], noise[:, order])
    case = _hear(bench, np.array([jurors[j].reliability for j in ranks], dtype=np.float64))
    found = _verdict(case)
    agreement = [_tau_b(own, _rest(case, k)) for k, own in enumerate(bench.means)]
    reports = [
        JurorReport(
            name=jurors[j].name,
            weight=round(float(case.weights[k]), 12),
            agreement=agreement[k],
            status="rejected" if case.rejected[k] else "counted",
            overruled=[int(item) for item in np.flatnonzero(~case.counted[k][back])],
        )
        for k, j in enumerate(ranks)
    ]
    return replace(
        found,
        means=[found.means[k] for k in back],
        stderr=[found.stderr[k] for k in back],
        jurors=[reports[ranks.index(j)] for j in range(len(jurors))],
    )


def _noise(juror: Juror) -> list[float]:
    """Variances of the means, shape (N,)."""
    if juror.stderr is None:
        variance = float(np.var(np.sort(juror.means), ddof=1))
        return [(1 - juror.reliability) * variance] * len(juror.means)
    each = juror.stderr if isinstance(juror.stderr, list) else [juror.stderr] * len(juror.means)
    return [stderr**2 for stderr in each]


@dataclass(frozen=True, slots=True)
class _Case:
    """Who counts on what, on which scale, and how much; J jurors, N items."""

    counted: Flags  # (J, N)
    rejected: Flags  # (J,)
    weights: Floats  # (J,), summing to 1; 0 for who is rejected or tells no items apart
    scores: Floats  # (J, N), on one scale with centre 0 and spread 1
    errors: Floats  # (J, N): variances of the scores, noise and disagreement
    centre: float
    spread: float
    freedom: float  # of the disagreement; 0 for one juror


def _hear(bench: Bench, trust: Floats) -> _Case:
    counted = np.ones(bench.means.shape, dtype=bool)
    speaking = np.ptp(bench.means, axis=1) > 0
    counted[speaking] = overrule(_of(bench, speaking))
    rejected = (~counted).mean(axis=1) > _MAX_OVERRULED
    sitting = speaking & ~rejected
    agreed = counted[sitting].all(axis=0)
    if agreed.sum() < min(3, agreed.size):
        agreed[:] = True
    scores, errors = np.zeros(counted.shape), np.ones(counted.shape)
    weights, centre, spread = np.zeros(len(counted)), float(bench.means.mean()), 0.0
    if sitting.any():
        aligned = align(_of(bench, sitting), agreed[None])
        scores[sitting] = aligned.scores[0]
        errors[sitting] = aligned.noise[0] + aligned.taste
        weights[sitting] = _weights(aligned, trust[sitting])
        centre = float(aligned.centres[0] @ weights[sitting])
        spread = float(aligned.spreads[0] @ weights[sitting])
    freedom = max(0.0, (float(sitting.sum()) - 1) * (float(agreed.sum()) - 1))
    return _Case(counted, rejected, weights, scores, errors, centre, spread, freedom)


def _of(bench: Bench, jurors: Flags) -> Bench:
    return Bench(bench.means[jurors], bench.noise[jurors])


def _weights(aligned: Aligned, trust: Floats) -> Floats:
    """Weights of the best linear predictor, signal / (noise + taste), summing to 1, shape (J,)."""
    noise = np.clip(aligned.noise[0].mean(axis=1), _LEAST_NOISE, 1.0)
    noise = np.exp(toward_mean(np.log(noise)[None], _LOG_NOISE_VARIANCE)[0])
    weights = np.sqrt(np.maximum(1 - noise, _LEAST_SIGNAL)) / (noise + aligned.taste)
    weights = np.where(trust > 0, weights, _DOUBT * weights)
    return np.asarray(weights / weights.sum())


def _verdict(case: _Case) -> JuryEstimate:
    items = case.scores.shape[1]
    weights = case.weights[:, None] * case.counted
    total = weights.sum(axis=0)
    if not total.all():  # nobody tells items apart
        return JuryEstimate([round(case.centre, 12)] * items, [0.0] * items, 0.0, False, [])
    weights /= total
    scores = (weights * case.scores).sum(axis=0)
    variances = (weights**2 * case.errors).sum(axis=0)
    error, between = float(variances.mean()), float(np.var(np.sort(scores), ddof=1))
    freedom = case.freedom or np.inf  # a single juror tells its own error
    p = p_value(between, error, items - 1, freedom, negligible=LEAST_VARIANCE)
    signal = p <= SIGNIFICANCE_LEVEL
    # The largest stretch of the common scale that stays in [0, 1] keeps the order and the gaps.
    low, high = float(scores.min()), float(scores.max())
    centre = min(1.0, max(0.0, case.centre))
    spread = min(case.spread, -centre / low if low < 0 else np.inf)
    spread = min(spread, (1 - centre) / high if high > 0 else np.inf)
    stderr = spread * np.sqrt(variances * _disputes(case, scores, weights > 0))
    return JuryEstimate(
        means=[min(1.0, max(0.0, float(mean))) for mean in np.round(centre + spread * scores, 12)],
        stderr=[float(each) for each in np.round(stderr, 12)],
        reliability=round(max(0.0, 1 - error / between), 12) if signal else 0.0,
        is_significant=signal,
        jurors=[],
    )


def _disputes(case: _Case, scores: Floats, counted: Flags) -> Floats:
    """By how much each item is disputed beyond the errors' account, >= 1, shape (N,)."""
    squares: Floats = (case.scores - scores) ** 2 / np.maximum(case.errors, LEAST_VARIANCE)
    surplus = (squares * counted).sum(axis=0)
    degrees = np.maximum(counted.sum(axis=0) - 1, 0)
    return np.asarray(np.maximum(1.0, (_ITEM_PRIOR + surplus) / (_ITEM_PRIOR + degrees)))


def _rest(case: _Case, juror: int) -> Floats:
    """The combined scores without one juror, shape (N,)."""
    weights = case.weights[:, None] * case.counted
    weights[juror] = 0.0
    total = weights.sum(axis=0)
    combined = (weights * case.scores).sum(axis=0) / np.where(total > 0, total, 1.0)
    return np.asarray(np.round(combined, 12))


def _tau_b(first: Floats, second: Floats) -> float:
    """Kendall's tau_b; 0 where either side ties all."""
    signs = [np.sign(each[:, None] - each[None, :]) for each in (first, second)]
    pairs = float((signs[0] ** 2).sum()) * float((signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum()) / sqrt(pairs) if pairs else 0.0
