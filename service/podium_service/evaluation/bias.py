"""Measure what moves a judge's score beside quality: the slot shown in, and the length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from podium_service.evaluation.measures import JudgedGroup, Pass, combine_passes
from podium_service.scoring.bootstrap import Array, Bootstrap, Measure

_MAX_EXACT_SLOTS = 8
_KNOTS = 5
_BINS = 5
_SINGULAR = 1e-9
NO_SLOTS = "no trajectory was shown in two different slots"
NO_LENGTHS = "no group's trajectories differ in length where they differ in score"


@dataclass(frozen=True, slots=True)
class SlotEffect:
    """The score added by a slot, on the judge's scale; the effects have mean zero.

    `position` is 0 for the first slot of a list and 1 for the last. One group has no `stderr`.
    """

    position: float
    effect: float
    stderr: float | None


@dataclass(frozen=True, slots=True)
class LengthBin:
    """Items of similar length, as a multiple of their group's geometric mean length.

    `residual` is their mean score beyond what the labels explain.
    """

    times_mean_length: float
    residual: float
    items: int


def slot_bias(
    groups: Sequence[JudgedGroup | None], bootstrap: Bootstrap
) -> tuple[list[SlotEffect], str | None]:
    """Return the effect of each slot on a score; if there is none to estimate, the reason.

    The fit is least squares on pass, item and slot effects. Pass and item effects are removed
    within each group, and slot effects are common to all groups. If lists differ in length, a
    slot's effect is linear between knots. A part of the effect that the design cannot separate
    from items (such as both ends against the middle, with one order and its reverse) is 0.

    Source:
        Frisch and Waugh 1933, Econometrica 1(4), for removing effects before the fit.
    """
    sizes = {len(pass_.order) for group in groups if group for pass_ in group.passes} - {1}
    if not sizes:
        return [], NO_SLOTS
    is_exact = len(sizes) == 1 and max(sizes) <= _MAX_EXACT_SLOTS
    knots = max(sizes) if is_exact else min(_KNOTS, max(sizes))
    sums = [_sum_slots(group, knots) if group else None for group in groups]

    def solve(totals: Array) -> Array:
        moments = totals[..., : knots * knots].reshape(*totals.shape[:-1], knots, knots)
        inverse = np.linalg.pinv(moments, rcond=_SINGULAR, hermitian=True)
        effects = (inverse @ totals[..., knots * knots :, None])[..., 0]
        is_known = np.trace(moments, axis1=-2, axis2=-1) > _SINGULAR  # a draw may hold no group
        return np.where(is_known[..., None], effects, np.nan)

    value, draws = bootstrap.evaluate(sums, solve)
    if value is None:
        return [], NO_SLOTS
    has_errors = sum(part is not None for part in sums) > 1
    errors = np.nanstd(draws, axis=0, ddof=1) if has_errors else [None] * knots
    return [
        SlotEffect(slot / (knots - 1), float(effect), None if error is None else float(error))
        for slot, (effect, error) in enumerate(zip(value, errors, strict=True))
    ], None


def length_bias(
    groups: Sequence[JudgedGroup | None], bootstrap: Bootstrap
) -> tuple[Measure, Measure]:
    """Return the correlation and the slope of score on log length within groups, at equal labels.

    The slope is in score per unit of the natural logarithm: times .693 for twice the length.
    """
    columns = map(_centre_columns, groups)
    sums = [None if each is None else np.asarray((each @ each.T).ravel()) for each in columns]
    return (
        bootstrap.measure(sums, _partial_correlation, NO_LENGTHS),
        bootstrap.measure(sums, _partial_slope, NO_LENGTHS),
    )


def length_bins(groups: Sequence[JudgedGroup | None]) -> list[LengthBin]:
    """Split all items into fifths by relative length, for a plot."""
    columns = [each for each in map(_centre_columns, groups) if each is not None]
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


def _sum_slots(group: JudgedGroup, knots: int) -> Array | None:
    """Return X'X and X'y, flat, of slot weights X and scores y without pass and item effects.

    None if all slot weights vanish with these effects.
    """
    passes = [pass_ for pass_ in group.passes if len(pass_.order) > 1]
    if not passes:
        return None
    items = np.concatenate([_centre(np.eye(group.num_shown)[pass_.order]) for pass_ in passes])
    scores = np.concatenate([_centre(np.array(pass_.scores)) for pass_ in passes])
    weights = np.concatenate([_centre(_weigh_knots(pass_, knots)) for pass_ in passes])
    both = np.column_stack([weights, scores])
    both = both - items @ (np.linalg.pinv(items.T @ items, rcond=_SINGULAR) @ (items.T @ both))
    slots, rest = both[:, :knots], both[:, knots]
    if np.abs(slots).max() < _SINGULAR:
        return None
    return np.concatenate([(slots.T @ slots).ravel(), slots.T @ rest])


def _weigh_knots(pass_: Pass, knots: int) -> Array:
    """Return the weight of each knot at each slot of a pass, shape (slots, knots)."""
    places = np.linspace(0, knots - 1, len(pass_.order))
    return np.asarray(np.clip(1 - np.abs(places[:, None] - np.arange(knots)), 0, None))


def _centre(rows: Array) -> Array:
    return np.asarray(rows - rows.mean(axis=0))


def _centre_columns(group: JudgedGroup | None) -> Array | None:
    """Return scores, log lengths and labels of the items shown, centred; shape (3, items)."""
    values = combine_passes(group.passes, group.num_shown) if group else None
    if group is None or values is None:
        return None
    lengths = np.log1p(group.num_characters)
    columns = np.array([values, lengths, group.labels[: group.num_shown]])
    return np.asarray(columns - columns.mean(axis=1, keepdims=True))


def _partial_moments(sums: Array) -> tuple[Array, Array, Array]:
    """Return the variances of score and length, and their covariance, all given the label."""
    moments = sums.reshape(*sums.shape[:-1], 3, 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        label = np.where(moments[..., 2, 2] > _SINGULAR, moments[..., 2, 2], np.inf)
        score, length, both = (
            moments[..., i, j] - moments[..., i, 2] * moments[..., j, 2] / label
            for i, j in ((0, 0), (1, 1), (0, 1))
        )
    return score, length, both


def _partial_correlation(sums: Array) -> Array:
    score, length, both = _partial_moments(sums)
    is_known = (score > _SINGULAR) & (length > _SINGULAR)
    return np.where(is_known, both / np.sqrt(np.where(is_known, score * length, 1)), np.nan)


def _partial_slope(sums: Array) -> Array:
    _, length, both = _partial_moments(sums)
    is_known = length > _SINGULAR
    return np.where(is_known, both / np.where(is_known, length, 1), np.nan)
