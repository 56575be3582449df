"""The signal ratio of a group, from its F ratio."""

import numpy as np
import pytest

from podium_service.scoring.signal_ratio import (
    RATIOS_R,
    mean_reliability,
    ratio_likelihood,
    yield_of_passes,
)

ALL_AT_ONE_R = (RATIOS_R == 1).astype(float)
HALF_EQUAL_R = ALL_AT_ONE_R / 2 + (RATIOS_R == 0) / 2


def test_the_likelihood_of_a_ratio_is_largest_at_the_expected_f() -> None:
    likely = ratio_likelihood(1 + 4 * 3.0, 4.0, 60, 1000)
    assert RATIOS_R[int(likely.argmax())] == 3
    assert ratio_likelihood(1e-12, 4.0, 7, 21).argmax() == 0


def test_the_yield_of_passes_equals_a_sum_by_hand() -> None:
    # At a ratio of 1: r(k) = k / (1 + k) = .5 .667 .75 .8. At a cost of 3: .125 .1333 .125 .1143.
    found = yield_of_passes(ALL_AT_ONE_R, 1.0, 3.0)
    assert found[:4] == pytest.approx([0.125, 2 / 15, 0.125, 0.8 / 7])
    assert mean_reliability(ALL_AT_ONE_R, 3.0) == pytest.approx(0.75)
    assert yield_of_passes(HALF_EQUAL_R, 1.0, 3.0) == pytest.approx(found / 2)
    # Passes that are worth two each: r = 2/3, 4/5.
    assert yield_of_passes(ALL_AT_ONE_R, 2.0, 1.0)[:2] == pytest.approx([1 / 3, 4 / 15])


@pytest.mark.parametrize(("cost", "best"), [(0.3, 1), (1, 1), (3, 2), (10, 3), (25, 5), (100, 10)])
def test_the_best_number_of_passes_is_the_root_of_the_cost(cost: float, best: int) -> None:
    assert 1 + int(np.argmax(yield_of_passes(ALL_AT_ONE_R, 1.0, cost))) == best
