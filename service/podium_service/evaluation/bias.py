"""Judged groups -> what moves a score beside quality: the slot shown in, and the length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from podium_service.evaluation.measures import JudgedGroup, Pass, centred_rows, combined
from podium_service.scoring.bootstrap import Array, Bootstrap, Measure

_MAX_EXACT_SLOTS = 8
_KNOTS = 5
_BINS = 5
_SINGULAR = 1e-9
NO_SLOTS = "no trajectory was shown in two different slots"
NO_LENGTHS = "no group's trajectories differ in length where they differ in score"


@dataclass(frozen=True, slots=True)
class SlotEffect:
    """How much a slot adds to a score: `position` from 0 (first) to 1 (last); mean effect zero."""

    position: float
    effect: float
    stderr: float | None


@dataclass(frozen=True, slots=True)
class LengthBin:
    """Items alike in length: times their group's (geometric) mean length, and their mean score
    beyond what the truth explains."""

    times_mean_length: float
    residual: float
    items: int


def slot_bias(
    groups: Sequence[JudgedGroup | None], bootstrap: Bootstrap
) -> tuple[list[SlotEffect], str | None]:
    """The effect of the slot, or no effects and the reason.

    Least squares on pass, item and slot effects: pass and item effects are removed within each
    group (Frisch and Waugh 1933), slot effects are common to all groups. With lists of different
    lengths a slot's effect is linear between knots. Parts of the effect that the design cannot
    tell from items (such as both ends against the middle, with one order and its reverse) are 0.
    """
    sizes = {
        len(one.order) for judged in groups if judged for one in judged.passes if len(one.order) > 1
    }
    if not sizes:
        return [], NO_SLOTS
    exact = len(sizes) == 1 and max(sizes) <= _MAX_EXACT_SLOTS
    knots = max(sizes) if exact else min(_KNOTS, max(sizes))
    sums = [_slot_sums(judged, knots) if judged else None for judged in groups]

    def effects(totals: Array) -> Array:
        moments = totals[..., : knots * knots].reshape(*totals.shape[:-1], knots, knots)
        inverse = np.linalg.pinv(moments, rcond=_SINGULAR, hermitian=True)
        found = (inverse @ totals[..., knots * knots :, None])[..., 0]
        some = np.trace(moments, axis1=-2, axis2=-1) > _SINGULAR  # a draw may hold no such group
        return np.where(some[..., None], found, np.nan)

    value, draws = bootstrap.drawn(sums, effects)
    if value is None:
        return [], NO_SLOTS
    several = sum(part is not None for part in sums) > 1
    errors = np.nanstd(draws, axis=0, ddof=1) if several else [None] * knots
    return [
        SlotEffect(slot / (knots - 1), float(effect), None if error is None else float(error))
        for slot, (effect, error) in enumerate(zip(value, errors, strict=True))
    ], None


def length_bias(
    groups: Sequence[JudgedGroup | None], bootstrap: Bootstrap
) -> tuple[Measure, Measure]:
    """Correlation and slope of score on log length within groups, at equal truth.

    The slope is in score per unit of the natural logarithm: times .693 for twice the length.
    """
    sums = [_length_sums(judged) if judged else None for judged in groups]
    return (
        bootstrap.measure(sums, _partial_correlation, NO_LENGTHS),
        bootstrap.measure(sums, _partial_slope, NO_LENGTHS),
    )


def length_bins(groups: Sequence[JudgedGroup | None]) -> list[LengthBin]:
    """Fifths of all items by relative length, for a plot."""
    columns = [found for judged in groups if judged and (found := _columns(judged)) is not None]
    if not columns:
        return []
    scores, lengths, labels = np.concatenate(columns, axis=1)
    spread = float(labels @ labels)
    slope = float(scores @ labels) / spread if spread else 0.0
    residuals, order = scores - slope * labels, np.argsort(lengths, kind="stable")
    fifths = [some for some in np.array_split(order, min(_BINS, len(order))) if some.size]
    return [
        LengthBin(float(np.exp(lengths[some].mean())), float(residuals[some].mean()), some.size)
        for some in fifths
    ]


def _slot_sums(judged: JudgedGroup, knots: int) -> Array | None:
    """X'X and X'y, flat, of slot weights X and scores y, both without pass and item effects."""
    passes = [one for one in judged.passes if len(one.order) > 1]
    if not passes:
        return None
    items, scores = centred_rows(passes, judged.num_shown)
    weights = np.concatenate([_centred_weights(one, knots) for one in passes])
    both = np.column_stack([weights, scores])
    both = both - items @ (np.linalg.pinv(items.T @ items, rcond=_SINGULAR) @ (items.T @ both))
    slots, rest = both[:, :knots], both[:, knots]
    if np.abs(slots).max() < _SINGULAR:
        return None
    return np.concatenate([(slots.T @ slots).ravel(), slots.T @ rest])


def _centred_weights(one: Pass, knots: int) -> Array:
    """How much of each knot each slot is, shape (slots, knots), the pass's mean removed."""
    places = np.linspace(0, knots - 1, len(one.order))
    weights = np.clip(1 - np.abs(places[:, None] - np.arange(knots)), 0, None)
    return np.asarray(weights - weights.mean(axis=0))


def _columns(judged: JudgedGroup) -> Array | None:
    """Scores, log lengths and labels of the items shown, each centred; shape (3, items)."""
    values = combined(judged.passes, judged.num_shown)
    if values is None:
        return None
    lengths = np.log1p(judged.num_characters)
    columns = np.array([values, lengths, judged.labels[: judged.num_shown]])
    return np.asarray(columns - columns.mean(axis=1, keepdims=True))


def _length_sums(judged: JudgedGroup) -> Array | None:
    columns = _columns(judged)
    return None if columns is None else np.asarray((columns @ columns.T).ravel())


def _partials(sums: Array) -> tuple[Array, Array, Array]:
    """Score's and length's variance and their covariance, all given the label."""
    moments = sums.reshape(*sums.shape[:-1], 3, 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        label = np.where(moments[..., 2, 2] > _SINGULAR, moments[..., 2, 2], np.inf)
        score, length, both = (
            moments[..., i, j] - moments[..., i, 2] * moments[..., j, 2] / label
            for i, j in ((0, 0), (1, 1), (0, 1))
        )
    return score, length, both


def _partial_correlation(sums: Array) -> Array:
    score, length, both = _partials(sums)
    known = (score > _SINGULAR) & (length > _SINGULAR)
    return np.where(known, both / np.sqrt(np.where(known, score * length, 1)), np.nan)


def _partial_slope(sums: Array) -> Array:
    _, length, both = _partials(sums)
    known = length > _SINGULAR
    return np.where(known, both / np.where(known, length, 1), np.nan)
