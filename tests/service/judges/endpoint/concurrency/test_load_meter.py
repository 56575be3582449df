"""Numbers of a round of calls, worked out by hand."""

import pytest

from podium_service.judges.endpoint.concurrency.load_meter import Load, LoadMeter


def numbers(load: Load) -> tuple[float, float, float]:
    return load.in_flight, load.rate, load.num_at_once


def test_a_round_at_a_server_that_works_on_one_call_at_a_time() -> None:
    meter = LoadMeter()
    for _ in range(4):
        meter.record_start(10.0)
    for ended_at in (12.0, 14.0, 16.0, 18.0):
        meter.record_end(10.0, ended_at, work=50.0)
    assert meter.num_answered == 4
    load = meter.finish_round()
    assert load.in_flight == pytest.approx((4 + 3 + 2 + 1) / 4)
    assert load.rate == pytest.approx(200 / 8)
    assert load.num_at_once == pytest.approx(25 * 2 / 50)  # never more than 25 a second


def test_a_round_at_a_server_that_works_on_all_calls_at_once() -> None:
    meter = LoadMeter()
    for _ in range(4):
        meter.record_start(0.0)
    for _ in range(4):
        meter.record_end(0.0, 2.0, work=1.0)
    assert numbers(meter.finish_round()) == pytest.approx((4, 2, 4))


def test_idle_time_and_unanswered_calls_are_no_work() -> None:
    meter = LoadMeter()
    meter.record_start(0.0)
    meter.record_end(0.0, 1.0, work=1.0)
    meter.record_start(100.0)
    meter.record_end(100.0, 101.0, work=None)
    assert meter.num_answered == 1
    load = meter.finish_round()
    assert (load.in_flight, load.rate) == pytest.approx((1, 0.5))


def test_a_call_from_before_the_round_counts_in_it() -> None:
    meter = LoadMeter()
    meter.record_start(0.0)
    meter.record_start(0.0)
    meter.record_end(0.0, 3.0, work=1.0)
    meter.finish_round()
    assert (meter.began_at, meter.num_answered) == (3.0, 0)
    meter.record_end(0.0, 5.0, work=1.0)
    assert numbers(meter.finish_round()) == pytest.approx((1, 1 / 2, 1 / 2 * 5))


def test_a_clock_that_stands_still_divides_nothing_by_zero() -> None:
    meter = LoadMeter()
    meter.record_start(7.0)
    meter.record_end(7.0, 7.0, work=1.0)
    assert meter.finish_round().in_flight == pytest.approx(1)
