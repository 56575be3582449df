"""Places open one after the other: times and numbers worked out by hand."""

from math import inf

import pytest

from podium_service.judges.endpoint.concurrency.ramp import Ramp


def test_places_open_evenly_over_the_time() -> None:
    ramp = Ramp(4)
    ramp.move(16, now=100.0, over_s=6.0)
    assert [ramp.read(100.0 + each) for each in (0, 0.49, 0.51, 3, 5.9, 6, 99)] == [
        4, 4, 5, 10, 15, 16, 16,
    ]  # fmt: skip
    assert ramp.wait_s(100.0) == pytest.approx(0.5)
    assert ramp.wait_s(103.1) == pytest.approx(0.4)
    assert ramp.wait_s(106.0) == inf


def test_places_are_closed_at_once() -> None:
    ramp = Ramp(8)
    ramp.move(5, now=1.0, over_s=9.0)
    assert (ramp.read(1.0), ramp.wait_s(1.0)) == (5, inf)


def test_another_move_begins_where_the_last_one_was() -> None:
    ramp = Ramp(4)
    ramp.move(16, now=0.0, over_s=12.0)
    ramp.move(12, now=6.0, over_s=2.0)
    assert [ramp.read(at) for at in (6.0, 7.0, 8.0)] == [10, 11, 12]
    ramp.move(20, now=9.0, over_s=4.0)
    ramp.move(3, now=10.0)
    assert ramp.read(10.0) == 3


def test_a_part_of_a_place_is_none() -> None:
    ramp = Ramp(2)
    ramp.move(3.5, now=0.0, over_s=3.0)
    assert [ramp.read(at) for at in (1.9, 2.1, 3.0)] == [2, 3, 3]
    assert ramp.wait_s(2.1) == pytest.approx(0.9)  # until it is over


def test_before_any_move_nothing_opens() -> None:
    assert (Ramp(4).read(-5.0), Ramp(4).wait_s(0.0)) == (4, inf)
