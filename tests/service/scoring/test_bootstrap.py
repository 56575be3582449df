"""Bootstrap intervals over groups."""

import pytest

from podium_service.scoring.bootstrap import Bootstrap


def test_an_interval_is_over_groups_and_none_for_one_group() -> None:
    bootstrap = Bootstrap(100)
    measure = bootstrap.mean([1.0] * 50 + [0.0] * 50, "-")
    assert measure.value == 0.5
    assert measure.low == pytest.approx(0.4, abs=0.03)  # .5 - 1.96 * .05
    assert measure.high == pytest.approx(0.6, abs=0.03)
    assert measure == Bootstrap(100).mean([1.0] * 50 + [0.0] * 50, "-")
    alone = Bootstrap(1).mean([0.25], "-")
    assert (alone.value, alone.low, alone.high, alone.groups) == (0.25, None, None, 1)


def test_an_undefined_measure_is_none_with_a_reason() -> None:
    measure = Bootstrap(2).mean([None, None], "nobody asked")
    assert (measure.value, measure.low, measure.groups, measure.reason) == (
        None, None, 0, "nobody asked",
    )  # fmt: skip
    assert Bootstrap(2).ratio([(0.0, 0.0), None], "no pairs").reason == "no pairs"
    assert Bootstrap(2).quantile([[], []], 0.5, "no calls").reason == "no calls"


def test_a_quantile_is_over_the_values_of_all_groups() -> None:
    values = [[float(i) for i in range(1, 51)], [float(i) for i in range(51, 101)]]
    bootstrap = Bootstrap(2)
    assert bootstrap.quantile(values, 0.5, "-").value == 50
    assert bootstrap.quantile(values, 0.95, "-").value == 95
