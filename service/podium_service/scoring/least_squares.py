"""Fit one effect per trajectory to scored passes, by least squares.

The model has pass, trajectory and slot effects. The mean of a pass is removed, because a judge
scores some passes higher than others. The rest splits into a part that the trajectories account
for (signal) and a part that no pass reproduces (noise). A pass over all trajectories is a complete
block, a pass over a subset an incomplete one. The slot bias is stored as its values at `KNOTS`
relative places of a list, with straight lines between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import fsum

import numpy as np
import numpy.typing as npt

KNOTS = 8
LINE_K = np.linspace(-0.5, 0.5, KNOTS)  # a straight line along a list, mean 0

Array = npt.NDArray[np.float64]
Pass = tuple[Sequence[int], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Fit:
    """A least-squares fit; I trajectories, K knots.

    Attributes:
        effects_I: estimated scores on the judge's scale, without slot effects.
        complete: whether every pass shows all trajectories.
        laplacian_II: the information of the design: the inverse of `covariance_II`, about the mean.
        covariance_II: of the effects about their mean, in units of one score's noise variance.
        information: number of complete passes that the design is worth to a trajectory, on average.
        ss_items: sum of squares that trajectories account for.
        ss_error, df_error: residual sum of squares and its degrees of freedom.
        ss_raw, df_raw: the residual sum of squares and degrees of freedom without slot effects in
            the model.
        slot_xtx_KK, slot_xty_K: normal equations of the slot effects, with passes and trajectories
            projected out.
    """

    effects_I: list[float]
    complete: bool
    laplacian_II: Array
    covariance_II: Array
    information: float
    ss_items: float
    ss_error: float
    df_error: float
    ss_raw: float
    df_raw: float
    slot_xtx_KK: Array
    slot_xty_K: Array


def least_squares(num_items: int, passes: Sequence[Pass], slots_K: Array | None) -> Fit:
    """Fit the effects of passes that link all trajectories.

    Args:
        num_items: I, >= 2.
        passes: `(order, scores)` per call: `scores[s]` is the score of trajectory `order[s]`.
        slots_K: the judge's known slot effects; if None, a straight line is estimated from the
            passes, if they can separate it from the trajectories.

    Source:
        Intra-block analysis of incomplete block designs: John and Williams 1995, ch. 1.
    """
    design = _Design(num_items, passes)
    scores_O = np.concatenate([np.asarray(scores, float) for _, scores in passes])
    raw = design.solve(scores_O)
    removed_K = design.fit_line(raw) if slots_K is None else slots_K
    final = design.solve(scores_O - design.blocks.basis_OK @ removed_K) if removed_K.any() else raw
    df_line = float(slots_K is None and bool(removed_K.any()))
    return Fit(
        effects_I=final.effects,
        complete=design.complete,
        laplacian_II=design.laplacian_II,
        covariance_II=design.covariance_II,
        information=float(np.trace(design.laplacian_II)) / (num_items - 1),
        ss_items=final.ss_items,
        ss_error=final.ss_error,
        df_error=max(0.0, design.df_error - df_line),
        ss_raw=raw.ss_error,
        df_raw=max(0.0, design.df_error),
        slot_xtx_KK=design.slot_xtx_KK,
        slot_xty_K=design.blocks.basis_centred_OK.T @ raw.residuals_O,
    )


def fit_ratings(ratings: Sequence[Sequence[float]]) -> Fit:
    """Fit trajectories that were each rated alone, once or more; effects are mean ratings.

    Source:
        One-way analysis of variance.
    """
    counts_I = np.array([len(each) for each in ratings], float)
    effects = [round(fsum(each) / len(each), 12) for each in ratings]
    pairs = [(rating, mean) for each, mean in zip(ratings, effects, strict=True) for rating in each]
    mean = fsum(rating for rating, _ in pairs) / len(pairs)
    ss_error = fsum((rating - effect) ** 2 for rating, effect in pairs)
    df_error = float(len(pairs) - len(effects))
    about_mean_II = np.eye(len(effects)) - 1 / len(effects)
    return Fit(
        effects_I=effects,
        complete=True,
        laplacian_II=about_mean_II @ np.diag(counts_I) @ about_mean_II,
        covariance_II=about_mean_II @ np.diag(1 / counts_I) @ about_mean_II,
        information=float(counts_I.mean()),
        ss_items=fsum(counts_I * (np.array(effects) - mean) ** 2),
        ss_error=ss_error,
        df_error=df_error,
        ss_raw=ss_error,
        df_raw=df_error,
        slot_xtx_KK=np.zeros((KNOTS, KNOTS)),
        slot_xty_K=np.zeros(KNOTS),
    )


@lru_cache(maxsize=128)
def slot_basis(length: int) -> Array:
    """Return the weight of each knot at each slot, shape (length, K), rows sum to 1; read only."""
    at = np.linspace(0, KNOTS - 1, length) if length > 1 else np.zeros(1)
    left = np.minimum(at.astype(int), KNOTS - 2)
    basis = np.zeros((length, KNOTS))
    rows = np.arange(length)
    basis[rows, left] = 1 - (at - left)
    basis[rows, left + 1] = at - left
    basis.flags.writeable = False
    return basis


@dataclass(frozen=True, slots=True)
class _Solution:
    effects: list[float]
    ss_items: float
    ss_error: float
    residuals_O: Array


class _Blocks:
    """The part of a design that depends only on the lengths of its passes; read only.

    O observations in B passes.
    """

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.length_B = np.array(lengths, float)
        self.pass_O = np.repeat(np.arange(len(lengths)), lengths)
        self.starts_B = np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(np.int64)
        self.basis_OK = np.concatenate([slot_basis(length) for length in lengths])
        means_BK = np.add.reduceat(self.basis_OK, self.starts_B, axis=0) / self.length_B[:, None]
        self.basis_centred_OK = self.basis_OK - means_BK[self.pass_O]
        for array in vars(self).values():
            array.flags.writeable = False

    def centre(self, values_O: Array) -> Array:
        """Subtract the mean of its pass from each value."""
        means_B = np.add.reduceat(values_O, self.starts_B) / self.length_B
        return np.asarray(values_O - means_B[self.pass_O])


_blocks = lru_cache(maxsize=128)(_Blocks)


def _laplacian(shown_BI: Array) -> Array:
    return np.asarray(np.diag(shown_BI.sum(0)) - shown_BI.T @ (shown_BI / shown_BI.sum(1)[:, None]))


@lru_cache(maxsize=128)
def _complete_design(num_items: int, num_passes: int) -> tuple[Array, Array]:
    """Return the laplacian of complete passes, and its inverse about the mean; read only."""
    laplacian_II = _laplacian(np.ones((num_passes, num_items)))
    covariance_II = (np.eye(num_items) - np.full_like(laplacian_II, 1 / num_items)) / num_passes
    for array in (laplacian_II, covariance_II):
        array.flags.writeable = False
    return laplacian_II, covariance_II


class _Design:
    """The places of trajectories in passes: O observations in B passes."""

    def __init__(self, num_items: int, passes: Sequence[Pass]) -> None:
        lengths = tuple(len(order) for order, _ in passes)
        self.num_items, self.num_passes = num_items, len(passes)
        self.item_O = np.concatenate([np.asarray(order) for order, _ in passes])
        self.complete = all(length == num_items for length in lengths)
        self.blocks = _blocks(lengths)
        self.laplacian_II, self.covariance_II = (
            _complete_design(num_items, len(passes)) if self.complete else self._invert()
        )
        self.df_error = float(len(self.item_O) - len(passes) - (num_items - 1))
        centred_OK, by_item_IK = self.blocks.basis_centred_OK, np.zeros((num_items, KNOTS))
        np.add.at(by_item_IK, self.item_O, centred_OK)
        item_xtx_KK = by_item_IK.T @ self.covariance_II @ by_item_IK
        self.slot_xtx_KK = centred_OK.T @ centred_OK - item_xtx_KK

    def _invert(self) -> tuple[Array, Array]:
        """Return the laplacian, and its inverse about the mean."""
        shown_BI = np.zeros((self.num_passes, self.num_items))
        shown_BI[self.blocks.pass_O, self.item_O] = 1.0
        laplacian_II = _laplacian(shown_BI)
        mean_II = np.full_like(laplacian_II, 1 / self.num_items)
        return laplacian_II, np.linalg.inv(laplacian_II + mean_II) - mean_II

    def solve(self, scores_O: Array) -> _Solution:
        """Return effects and residuals.

        Complete passes are summed exactly, so that the order of passes changes no bit.
        """
        effects = self._item_means(scores_O) if self.complete else self._solve_blocks(scores_O)
        effect_I = np.array(effects) - fsum(effects) / len(effects)
        residuals_O = self.blocks.centre(scores_O - effect_I[self.item_O])
        if self.complete:
            ss_items = self.num_passes * fsum(effect**2 for effect in effect_I)
        else:
            ss_items = float(effect_I @ self.laplacian_II @ effect_I)
        return _Solution(effects, ss_items, fsum((residuals_O**2).tolist()), residuals_O)

    def fit_line(self, raw: _Solution) -> Array:
        """Return the knot values of a linear slot effect, mean 0; zeros if it cannot be fitted."""
        xtx = float(LINE_K @ self.slot_xtx_KK @ LINE_K)
        if self.df_error < 3 or xtx < 1e-9:
            return np.zeros(KNOTS)
        xty = float(LINE_K @ (self.blocks.basis_centred_OK.T @ raw.residuals_O))
        return np.asarray(xty / xtx * LINE_K)

    def _item_means(self, scores_O: Array) -> list[float]:
        columns: list[list[float]] = [[] for _ in range(self.num_items)]
        for item, score in zip(self.item_O.tolist(), scores_O.tolist(), strict=True):
            columns[item].append(score)
        return [round(fsum(column) / len(column), 12) for column in columns]

    def _solve_blocks(self, scores_O: Array) -> list[float]:
        by_item_I = np.bincount(self.item_O, self.blocks.centre(scores_O), self.num_items)
        effect_I = self.covariance_II @ by_item_I
        level = float(np.mean(scores_O - effect_I[self.item_O]))
        return [round(float(effect) + level, 12) for effect in effect_I]
