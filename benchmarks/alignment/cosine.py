"""Returned and true advantages by group -> cosines over batches, with intervals.

A batch is what a GRPO step trains on: the advantages of 8 groups, concatenated. To first order a
step along `a` instead of the true `b` makes cos^2(a, b) of the progress of a step along `b` of the
same length [see `Source`], so the squared cosine is what the judge's tokens buy; it counts as
negative where the cosine is.

Groups are drawn with replacement, outside for the interval and again inside for the batches. All
arms of a set share the draws, so that ratios between arms are paired.

Source:
    With gradient g, curvature L and the step that is best along a direction d, the loss falls by
    (g . d)^2 / (2 L |d|^2), that is |g|^2 / (2 L) times cos^2(g, d): Nocedal and Wright 2006,
    "Numerical Optimization", section 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from podium_service.scoring.bootstrap import Measure
from podium_trainer.update.advantages import ADVANTAGES

BATCH = 8
RESAMPLES = 300
BATCHES_PER_RESAMPLE = 100
BATCHES = 20_000

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """The batches that every arm of a set is measured on.

    Attributes:
        all: group indices of shape (BATCHES, BATCH), drawn from all groups.
        resampled: of shape (RESAMPLES, BATCHES_PER_RESAMPLE, BATCH), each row drawn from one
            resample of the groups.
        members_all, members_resampled: of the same shapes, fractions in [0, 1) that choose among a
            group's repetitions.
    """

    all: Index
    resampled: Index
    members_all: Array
    members_resampled: Array


@lru_cache(maxsize=4)
def draws(num_groups: int) -> Draws:
    """Return the draws of a set of so many groups; the same ones at each call."""
    rng = np.random.default_rng(0)
    every = rng.integers(num_groups, size=(BATCHES, BATCH))
    outer = rng.integers(num_groups, size=(RESAMPLES, num_groups))
    inner = rng.integers(num_groups, size=(RESAMPLES, BATCHES_PER_RESAMPLE, BATCH))
    resampled = np.take_along_axis(outer[:, None, :], inner, axis=2)
    return Draws(every, resampled, rng.random(every.shape), rng.random(resampled.shape))


@dataclass(frozen=True)
class Alignment:
    """Cosines of one arm's advantages with the true ones.

    Attributes:
        cosine, squared: means over batches, with 95% intervals.
        squared_R: the squared cosine of each resample, for ratios between arms.
    """

    cosine: Measure
    squared: Measure
    squared_R: Array


def group_sums(rewards: Sequence[float], truth: Sequence[float], scheme: str) -> Array:
    """Return what a group adds to a batch: a . b, a . a and b . b of returned and true advantages.

    Args:
        rewards: in the order of `truth`; nothing where the group was not ranked, which then trains
            nothing.
        scheme: of the returned advantages, a name of `ADVANTAGES`; true ones are only centred.
    """
    b = np.asarray(truth, dtype=np.float64)
    b -= b.mean()
    if not len(rewards):
        return np.array([0.0, 0.0, b @ b])
    (advantages,) = ADVANTAGES[scheme]([torch.tensor(rewards, dtype=torch.float64)])
    a = advantages.double().numpy()
    return np.array([a @ b, a @ a, b @ b])


def cosines(sums: Array) -> Array:
    """Compute cosines from the sums of a batch, (..., 3) -> (...).

    0 where no reward differs from another, because such a batch trains nothing; nan where no truth
    does, because such a batch has no right direction.
    """
    product, own, true = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.where(own > 1e-12, product / np.sqrt(own * true), 0.0)
    return np.where(true > 1e-12, cosine, np.nan)


def signed_square(cosine: Array) -> Array:
    return np.asarray(cosine * np.abs(cosine))


def align(sums_SG3: Array) -> Alignment:
    """Measure batches of groups.

    Args:
        sums_SG3: `group_sums` by repetition (another noise of the judge) and group.
    """
    drawn = draws(sums_SG3.shape[1])
    every = _batches(sums_SG3, drawn.all, drawn.members_all)
    resampled = _batches(sums_SG3, drawn.resampled, drawn.members_resampled)
    squared_R = _mean(signed_square(resampled))
    groups = sums_SG3.shape[1]
    cosine = _measure(float(_mean(every)), _mean(resampled), groups)
    squared = _measure(float(_mean(signed_square(every))), squared_R, groups)
    return Alignment(cosine, squared, squared_R)


def _mean(values: Array) -> Array:
    """Average over the last axis the batches that have a direction; return nan if none has."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(axis=-1) / there.sum(axis=-1))


def _batches(sums_SG3: Array, groups: Index, members: Array) -> Array:
    """Return the cosine of each batch: groups of shape (..., BATCH) -> (...)."""
    repetitions = (members * len(sums_SG3)).astype(np.int64)
    return cosines(sums_SG3[repetitions, groups].sum(axis=-2))


def _measure(value: float, values_R: Array, groups: int) -> Measure:
    low, high = np.nanquantile(values_R, (0.025, 0.975))
    return Measure(float(value), float(low), float(high), groups)


def ratio_of(ours: Array, theirs: Array, value: float, groups: int) -> Measure:
    """Return a ratio of two figures that share their resamples.

    There is none where the divisor is not positive in one resample of forty.
    """
    if np.isnan(value) or np.mean(theirs <= 0) > 0.025:
        return Measure(None, None, None, groups, "RULER does not point along the truth")
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(theirs > 0, ours / theirs, np.inf)
    return _measure(value, ratios, groups)


def at_tokens(tokens: float, spent_M: Sequence[float], squared_M: Array) -> Array:
    """Return what repeated calls buy for so many tokens, on lines between whole calls.

    Below one call the line goes through nothing for nothing: who ranks only a share f of the groups
    has sqrt(f) of the cosine. Above the last repetition the figure stays where it was.

    Args:
        spent_M: tokens of 1, 2, ... M calls, averaged into one ranking; rising.
        squared_M: of shape (M, ...).

    Returns:
        An array of shape (...).
    """
    at = np.array([0.0, *spent_M])
    known = np.concatenate([np.zeros_like(squared_M[:1]), squared_M])
    place = int(np.searchsorted(at, tokens, side="right"))
    if place == len(at):
        return np.asarray(known[-1])
    share = (tokens - at[place - 1]) / (at[place] - at[place - 1])
    return np.asarray(known[place - 1] + share * (known[place] - known[place - 1]))
