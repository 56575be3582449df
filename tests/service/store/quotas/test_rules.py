"""The arithmetic of quotas, against numbers worked out by hand."""

from math import inf

from podium_service.store.quotas import rules
from podium_service.store.quotas.rules import Bucket, Spending, Window

NOON = 1_800_000_000.0  # 2027-01-15, 08:00 UTC


def test_a_window_opens_with_its_first_request() -> None:
    window, wait_s = rules.count(Window("k"), 2, 60.0, 1000.0)
    assert (window, wait_s) == (Window("k", 1000.0, 1), 0.0)
    window, wait_s = rules.count(window, 2, 60.0, 1030.0)
    assert (window, wait_s) == (Window("k", 1000.0, 2), 0.0)
    assert rules.count(window, 2, 60.0, 1045.0) == (window, 15.0)
    assert rules.count(window, 2, 60.0, 1060.0) == (Window("k", 1060.0, 1), 0.0)
    assert rules.count(window, 2, 60.0, 100.0)[1] == 0.0  # the clock was set back


def test_a_bucket_holds_10_s_of_inflow_and_refills() -> None:
    assert rules.capacity(60) == 10.0
    assert rules.capacity(3) == 1.0
    bucket, wait_s = rules.take(Bucket("e"), 60, 4, 1000.0)
    assert (bucket, wait_s) == (Bucket("e", 6.0, 1000.0), 0.0)
    assert rules.take(bucket, 60, 8, 1001.0) == (Bucket("e", -1.0, 1001.0), 1.0)
    assert rules.take(Bucket("e", -1.0, 1001.0), 60, 3, 1001.0)[1] == 4.0  # 1 s for the debt
    assert rules.take(bucket, 60, 8, 1002.0) == (Bucket("e", 0.0, 1002.0), 0.0)
    assert rules.give_back(bucket, 60, 100, 1000.0).level == 10.0


def test_an_amount_larger_than_the_bucket_owes_the_rest() -> None:
    bucket, wait_s = rules.take(Bucket("e"), 60, 25, 1000.0)
    assert (bucket.level, wait_s) == (-15.0, 0.0)
    assert rules.take(bucket, 60, 1, 1014.0)[1] == 2.0
    assert rules.take(bucket, 60, 1, 1016.0)[1] == 0.0


def test_a_limit_holds_to_the_last_micro_dollar() -> None:
    assert rules.micro_dollars(0.1) == 100_000
    assert rules.micro_dollars(0.0000001) == 1
    full = rules.reserve(Spending("k", 0, 900_000), 1.0, 100_000)
    assert full == Spending("k", 100_000, 900_000)
    assert rules.reserve(full, 1.0, 1) is None
    assert rules.settle(full, 100_000, 40_000) == Spending("k", 0, 940_000)


def test_periods_are_days_and_months_in_utc() -> None:
    names = [rules.period_name("key:a", per, NOON) for per in ("day", "month", "total")]
    assert names == ["key:a 2027-01-15", "key:a 2027-01", "key:a total"]
    midnight = NOON + 16 * 3600
    assert rules.period_name("key:a", "day", midnight - 1e-3) == "key:a 2027-01-15"
    assert rules.period_name("key:a", "day", midnight) == "key:a 2027-01-16"


def test_a_period_ends_when_the_next_one_begins() -> None:
    for day in range(0, 800, 7):
        at = NOON + 86_400 * day
        for per in ("day", "month"):
            name = rules.period_name("key:a b", per, at)
            end = rules.period_end(name)
            assert end > at
            assert rules.period_name("key:a b", per, end - 1e-3) == name
            assert rules.period_name("key:a b", per, end) != name
    assert rules.period_end("key:a total") == inf
