"""Effects fitted to passes, against the textbook and regression with dummy variables."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_service.ranking.methods.designs import balanced_orders, incomplete_blocks, links_all
from podium_service.scoring.least_squares import KNOTS, Pass, fit_ratings, least_squares, slot_basis
from tests.service.simulated import Floats

NO_SLOTS = np.zeros(KNOTS)


@st.composite
def connected(draw: st.DrawFn) -> tuple[int, list[Pass]]:
    """Draw random blocks of unequal sizes that link all trajectories, with random scores."""
    num_items = draw(st.integers(3, 9))
    random = Random(draw(st.integers(0, 2**32)))
    orders: list[list[int]] = []
    while not (orders and links_all(num_items, orders)) or len(orders) < 4:
        orders.append(random.sample(range(num_items), random.randint(2, num_items)))
    return num_items, [(order, [random.random() for _ in order]) for order in orders]


def dummies(num_items: int, passes: list[Pass]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return dummy columns of passes, trajectories and knots, and the scores."""
    rows_pass, rows_item, rows_slot, scores = [], [], [], []
    for number, (order, given_scores) in enumerate(passes):
        for slot, item in enumerate(order):
            rows_pass.append(np.eye(len(passes))[number])
            rows_item.append(np.eye(num_items)[item])
            rows_slot.append(slot_basis(len(order))[slot])
        scores += list(given_scores)
    return np.array(rows_pass), np.array(rows_item), np.array(rows_slot), np.array(scores)


def residual(design: Floats, scores: Floats) -> Floats:
    return np.asarray(scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0])


def test_complete_passes_give_the_two_way_layout() -> None:
    # test_estimate works this table out by hand: means .25 .45 .8, MS_error .005, MS_items .155.
    passes = [((0, 1, 2), (0.2, 0.5, 0.8)), ((2, 1, 0), (0.8, 0.4, 0.3))]
    fit = least_squares(3, passes, NO_SLOTS)
    assert fit.effects_I == [0.25, 0.45, 0.8]
    assert fit.ss_items == pytest.approx(2 * 0.155)
    assert fit.ss_error == pytest.approx(2 * 0.005)
    assert fit.df_error == fit.df_raw == 2
    assert fit.information == pytest.approx(2)
    assert fit.covariance_II == pytest.approx((np.eye(3) - 1 / 3) / 2)


@given(st.integers(2, 8), st.integers(2, 6), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_any_complete_table_gives_the_two_way_layout(
    num_items: int, passes: int, seed: int
) -> None:
    table = np.random.default_rng(seed).random((passes, num_items))
    orders = balanced_orders(num_items, passes, seed)
    rows = zip(orders, table, strict=True)
    fit = least_squares(
        num_items, [(order, [row[i] for i in order]) for order, row in rows], NO_SLOTS
    )
    fitted = table.mean(1, keepdims=True) + table.mean(0) - table.mean()
    assert fit.effects_I == pytest.approx(table.mean(0), abs=1e-11)
    assert fit.ss_error == pytest.approx(float(((table - fitted) ** 2).sum()), abs=1e-9)
    assert fit.ss_items == pytest.approx(passes * num_items * float(table.mean(0).var()), abs=1e-9)
    assert fit.df_error == (passes - 1) * (num_items - 1)


@given(connected())
@settings(max_examples=60, deadline=None)
def test_incomplete_blocks_equal_regression_on_dummies(
    case: tuple[int, list[Pass]],
) -> None:
    num_items, passes = case
    by_pass, by_item, _, scores = dummies(num_items, passes)
    both = np.hstack([by_pass, by_item])
    fit = least_squares(num_items, passes, NO_SLOTS)
    solution = np.linalg.lstsq(both, scores, rcond=None)[0][len(passes) :]
    left = residual(both, scores)
    effects = np.array(fit.effects_I)
    assert effects - effects.mean() == pytest.approx(solution - solution.mean(), abs=1e-8)
    assert fit.ss_error == pytest.approx(float(left @ left), abs=1e-9)
    assert fit.df_error == len(scores) - np.linalg.matrix_rank(both)
    # Trajectories account for what the passes alone do not.
    alone = residual(by_pass, scores)
    assert fit.ss_items == pytest.approx(float(alone @ alone - left @ left), abs=1e-8)


@given(connected())
@settings(max_examples=60, deadline=None)
def test_the_covariance_is_the_pseudo_inverse_of_the_information(
    case: tuple[int, list[Pass]],
) -> None:
    num_items, passes = case
    by_pass, by_item, _, _ = dummies(num_items, passes)
    within = np.column_stack([residual(by_pass, column) for column in by_item.T])
    fit = least_squares(num_items, passes, NO_SLOTS)
    assert fit.covariance_II == pytest.approx(
        np.linalg.pinv(within.T @ within, rcond=1e-9), abs=1e-8
    )
    assert fit.information == pytest.approx(np.trace(within.T @ within) / (num_items - 1))


@given(connected())
@settings(max_examples=60, deadline=None)
def test_the_slot_equations_equal_those_of_the_joint_regression(
    case: tuple[int, list[Pass]],
) -> None:
    num_items, passes = case
    by_pass, by_item, by_slot, scores = dummies(num_items, passes)
    both = np.hstack([by_pass, by_item])
    slots = np.column_stack([residual(both, column) for column in by_slot.T])
    fit = least_squares(num_items, passes, NO_SLOTS)
    assert fit.slot_xtx_KK == pytest.approx(slots.T @ slots, abs=1e-8)
    assert fit.slot_xty_K == pytest.approx(slots.T @ scores, abs=1e-8)
    joint = residual(np.hstack([both, by_slot]), scores)
    explained = fit.slot_xty_K @ np.linalg.pinv(fit.slot_xtx_KK, rcond=1e-9) @ fit.slot_xty_K
    assert fit.ss_raw - explained == pytest.approx(float(joint @ joint), abs=1e-7)


def scored(orders: list[list[int]], truth: Floats, slots: Floats | None = None) -> list[Pass]:
    """Return passes of a judge without noise: truth, slot effects, and a constant per pass."""
    passes: list[Pass] = []
    for shift_of_pass, order in enumerate(orders):
        slot_effects = slot_basis(len(order)) @ (NO_SLOTS if slots is None else slots)
        passes.append(
            (order, [float(each) for each in truth[order] + slot_effects + shift_of_pass / 10])
        )
    return passes


LINE = np.linspace(-0.2, 0.2, KNOTS)
BENT = np.array([0.3, 0.1, 0, 0, -0.1, -0.2, -0.1, 0.0])


@pytest.mark.parametrize(
    "orders", [balanced_orders(6, 3, 1), balanced_orders(6, 5, 2), incomplete_blocks(9, 4, 7, 3)]
)
def test_a_linear_slot_bias_is_estimated_without_past_groups(
    orders: list[list[int]],
) -> None:
    truth = np.random.default_rng(1).random(len({item for order in orders for item in order}))
    passes = scored(orders, truth, LINE)
    fit = least_squares(len(truth), passes, None)
    effects = np.array(fit.effects_I)
    assert effects - effects.mean() == pytest.approx(truth - truth.mean(), abs=1e-9)
    assert fit.ss_error == pytest.approx(0, abs=1e-12)
    assert fit.ss_raw > 0.01
    assert fit.df_error == least_squares(len(truth), passes, NO_SLOTS).df_error - 1


def test_known_slot_effects_of_any_shape_are_removed() -> None:
    truth = np.random.default_rng(2).random(7)
    passes = scored(balanced_orders(7, 1, 4), truth, BENT)
    fit = least_squares(7, passes, BENT)
    effects = np.array(fit.effects_I)
    assert effects - effects.mean() == pytest.approx(truth - truth.mean(), abs=1e-9)
    assert fit.df_error == 0


def test_too_few_residuals_leave_the_slot_bias_in() -> None:
    passes = scored(balanced_orders(3, 2, 1), np.array([0.1, 0.5, 0.9]), LINE)
    fit = least_squares(3, passes, None)
    assert fit.df_error == 2
    assert fit.ss_error == fit.ss_raw > 0


def test_the_knots_cover_a_list_of_any_length() -> None:
    for length in (1, 2, 5, 8, 20, 64):
        basis = slot_basis(length)
        assert basis.shape == (length, KNOTS)
        assert basis.sum(1) == pytest.approx(np.ones(length))
        if length > 1:
            assert basis @ LINE == pytest.approx(np.linspace(-0.2, 0.2, length))


def test_ratings_equal_a_fit_by_hand() -> None:
    # Means .2 .6 .7 with 2, 1 and 3 ratings; residuals -+.1, none, -.1 0 .1; level 3.1 / 6.
    fit = fit_ratings([[0.1, 0.3], [0.6], [0.6, 0.7, 0.8]])
    level = (0.4 + 0.6 + 2.1) / 6
    assert fit.effects_I == [0.2, 0.6, 0.7]
    assert fit.ss_error == pytest.approx(0.04)
    assert fit.df_error == 3
    expected = 2 * (0.2 - level) ** 2 + (0.6 - level) ** 2 + 3 * (0.7 - level) ** 2
    assert fit.ss_items == pytest.approx(expected)
    contrast = np.array([1, -1, 0])  # the variance of a difference: 1/2 + 1/1
    assert contrast @ fit.covariance_II @ contrast == pytest.approx(1.5)
