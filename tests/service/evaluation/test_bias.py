"""The effects of slot and length on a score."""

import numpy as np
import pytest

from podium_service.evaluation.bias import length_bias, length_bins, slot_bias
from podium_service.evaluation.measures import JudgedGroup, Pass
from podium_service.scoring.bootstrap import Bootstrap
from tests.service.evaluation.helpers import judged_group

# The truth is .6 and .4; the first slot adds .1, and the last takes .1.
BIASED_ORDER = Pass([0, 1], [0.7, 0.3])
BIASED_REVERSE = Pass([1, 0], [0.5, 0.5])


def test_slot_effects_are_separated_from_quality() -> None:
    one = judged_group([1, 0], BIASED_ORDER, BIASED_REVERSE)
    effects, reason = slot_bias([one, one, None], Bootstrap(3))
    assert reason is None
    assert [each.position for each in effects] == [0, 1]
    assert [each.effect for each in effects] == pytest.approx([0.1, -0.1])
    assert effects[0].stderr == pytest.approx(0, abs=1e-9)  # the groups are alike
    assert slot_bias([one], Bootstrap(1))[0][0].stderr is None


def test_slot_effects_of_any_shape_are_exact_in_a_rotated_design() -> None:
    truth, effect = np.array([0.2, 0.6, 0.4, 0.5]), np.array([0.09, -0.05, -0.06, 0.02])
    orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2], [1, 2, 3, 0], [0, 3, 2, 1]]
    passes = [
        Pass(order, list(truth[order] + effect + 0.01 * mood)) for mood, order in enumerate(orders)
    ]
    effects, _ = slot_bias([judged_group([0, 1, 0, 1], *passes)], Bootstrap(1))
    assert [each.effect for each in effects] == pytest.approx(effect)


def test_lists_of_different_lengths_share_relative_slots() -> None:
    def passes(order: list[int]) -> list[Pass]:
        slots = np.linspace(0.1, -0.1, len(order))
        truth = np.linspace(0.3, 0.6, len(order))
        return [Pass(o, list(truth[o] + slots)) for o in (order, order[::-1])]

    groups = [judged_group([1.0] * n, *passes(list(range(n)))) for n in (2, 3, 5, 7)]
    effects, _ = slot_bias(groups, Bootstrap(4))
    assert [each.position for each in effects] == [0, 0.25, 0.5, 0.75, 1]
    assert [each.effect for each in effects] == pytest.approx([0.1, 0.05, 0, -0.05, -0.1])


def test_length_bias_is_the_part_that_labels_do_not_explain() -> None:
    def one(labels: list[float], lengths: list[int]) -> JudgedGroup:
        values = [0.3 * t + 0.1 * float(np.log1p(n)) for t, n in zip(labels, lengths, strict=True)]
        return JudgedGroup(labels, values, lengths, [Pass(list(range(len(labels))), values)])

    groups = [one([0, 1, 1], [9, 99, 999]), one([1, 0, 0, 1], [50, 40, 10, 5])]
    correlation, slope = length_bias(groups, Bootstrap(2))
    assert correlation.value == pytest.approx(1)
    assert slope.value == pytest.approx(0.1)
    assert sum(each.items for each in length_bins(groups)) == 7
    blind = judged_group([1, 0], Pass([0, 1], [0.9, 0.1]))
    assert length_bias([blind], Bootstrap(1))[0].value is None  # all as long
