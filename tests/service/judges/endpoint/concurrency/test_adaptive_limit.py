"""The limit finds out how many calls a server takes, whether it works on one at a time or on all.

Times are in units of what one call takes, so that a server of one slot that takes 2 s a call and
one that takes 40 s are the same.
"""

from collections import Counter

import pytest

from podium_service.judges.endpoint.concurrency.adaptive_limit import AdaptiveLimit
from tests.fakes import (
    fails,
)
from tests.service.judges.builders import (
    GOOD,
    ask,
    open_judge,
)
from tests.service.judges.endpoint.concurrency.queueing import (
    Server,
    noisy,
    shared,
    simulate,
    slots,
)

pytestmark = pytest.mark.anyio

ONE_AT_A_TIME = {"queued": slots(1), "shared": shared(lambda calls: 1.0)}


def test_a_server_of_one_slot_gets_one_call_or_two() -> None:
    trace = simulate(AdaptiveLimit(1, 256), slots(1), 200)
    assert trace.most_in_flight() == 4  # at the start, when nothing is known
    assert trace.most_in_flight(since=8) <= 2
    assert trace.mean_in_flight(since=8) < 1.3
    assert trace.rate(since=0) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("groups_of", [4, 8])
def test_groups_to_a_server_of_one_slot_are_sent_call_by_call(groups_of: int) -> None:
    trace = simulate(AdaptiveLimit(1, 256), slots(1), 200, groups_of=groups_of)
    assert trace.most_in_flight() == 4
    assert trace.most_in_flight(since=8) <= 2


@pytest.mark.parametrize("server", ONE_AT_A_TIME.values(), ids=ONE_AT_A_TIME)
@pytest.mark.parametrize("counts", [True, False])
def test_calls_of_different_length_do_not_pile_up(server: Server, counts: bool) -> None:
    for seed in range(6):
        limit = AdaptiveLimit(1, 256)
        trace = simulate(limit, server, 300, call_s=noisy(0.3, seed), counts=counts)
        assert trace.most_in_flight() <= 32
        assert trace.mean_in_flight(since=150) < 8
        assert trace.rate(since=20) > 0.85


@pytest.mark.parametrize("number", [2, 3, 6, 16])
@pytest.mark.parametrize("sd", [0.0, 0.3])
def test_a_few_slots_are_kept_busy_without_long_queues(number: int, sd: float) -> None:
    call_s = noisy(sd, seed=1)
    trace = simulate(AdaptiveLimit(1, 256), slots(number), 300, call_s=call_s)
    assert trace.rate(since=150) > 0.85 * number
    assert trace.mean_in_flight(since=150) < 4 * number


def test_a_server_without_limits_gets_all_after_three_rounds() -> None:
    trace = simulate(AdaptiveLimit(1, 256), slots(10**9), 10)
    # After a round of 1 s, 12 places open .02 s apart, then 48, and 192 over the time of a call.
    ramps_s, reached = (0.24, 0.96, 1.0), [1.0, 2.24, 4.2]
    assert [trace.reached_at(each) for each in (16, 64, 256)] == pytest.approx(reached)
    assert trace.had_in_flight_at(256) == pytest.approx(sum(ramps_s) + 3)
    assert trace.rate(since=5.3) > 0.95 * 256


def test_calls_that_places_open_for_do_not_end_in_step() -> None:
    trace = simulate(AdaptiveLimit(1, 64), slots(10**9), 20)
    shares = Counter(int(at % 1 * 10) for at in trace.ended_at if 10 <= at < 20)
    assert len(shares) == 10  # of the tenths of a second
    # 16 calls have gone on in step since the second round, in the first quarter; 48 fill the rest.
    assert max(shares.values()) <= 2 * 64


def test_a_batching_server_that_slows_down_mildly_gets_hundreds() -> None:
    batching = shared(lambda calls: calls / (1 + calls / 200))  # 2.3 times as slow at 256
    for seed in range(3):
        trace = simulate(AdaptiveLimit(1, 256), batching, 15, call_s=noisy(0.3, seed))
        assert trace.reached_at(256) < 8
        assert trace.mean_in_flight(since=8) == pytest.approx(256)


def test_calls_of_different_length_delay_the_growth_by_little() -> None:
    for seed in range(6):
        call_s = noisy(0.5, seed)
        assert simulate(AdaptiveLimit(1, 256), slots(10**9), 10, call_s=call_s).reached_at(256) < 8


def test_a_server_that_refuses_is_kept_near_what_it_takes() -> None:
    trace = simulate(AdaptiveLimit(1, 256), slots(10**9), 60, takes=50)
    assert 35 < trace.mean_in_flight(since=10) <= 50
    assert trace.num_refused < 0.01 * len(trace.ended_at)


def test_a_passing_refusal_is_forgotten() -> None:
    limit = AdaptiveLimit(1, 256)
    simulate(limit, slots(10**9), 4)
    for moment in range(10, 40):
        limit.record_overload(moment, moment)
    assert limit.limit == 1
    assert simulate(limit, slots(10**9), 60, began_at=40).reached_at(256) < 40 + 20


def test_a_server_that_loses_slots_is_found_out() -> None:
    limit = AdaptiveLimit(1, 256)
    simulate(limit, slots(8), 100)
    assert limit.limit > 5
    trace = simulate(limit, slots(1), 1200, began_at=101)
    assert trace.mean_in_flight(since=1000) < 3


def test_a_limit_that_is_not_used_up_stays() -> None:
    limit = AdaptiveLimit(1, 256)
    simulate(limit, slots(10**9), 50, groups_of=1)
    assert limit.limit == 4


def test_the_limit_stays_within_its_bounds() -> None:
    assert [AdaptiveLimit(*bounds).limit for bounds in ((1, 2), (1, 9), (16, 99))] == [2, 4, 16]
    low = AdaptiveLimit(16, 99)
    trace = simulate(low, slots(1), 200)
    assert all(16 <= limit <= 32 for _, limit, _ in trace.events)
    high = AdaptiveLimit(1, 20)
    simulate(high, slots(10**9), 20)
    assert high.limit == 20


def test_a_refusal_cuts_once_a_round_and_not_below_the_bound() -> None:
    limit = AdaptiveLimit(4, 100)
    simulate(limit, slots(10**9), 8)
    assert limit.limit == 100
    limit.record_overload(started_at=9.0, now=10.0)
    limit.record_overload(started_at=9.5, now=10.1)  # it started before the cut
    assert limit.limit == limit.read_open(10.1) == 70
    for moment in range(11, 29):
        limit.record_overload(started_at=moment, now=moment)
    assert limit.limit == 4


def test_a_refusal_cuts_what_was_open_then() -> None:
    limit = AdaptiveLimit(1, 256)
    simulate(limit, slots(10**9), 1.9)
    limit.record_overload(started_at=1.9, now=2.24 + 0.5)
    simulate(limit, slots(10**9), 0.1, began_at=2.24 + 0.5)
    assert limit.limit == limit.read_open(3.0) == int(0.7 * 16)


def test_in_slow_start_the_highest_limit_is_expected() -> None:
    limit = AdaptiveLimit(1, 256)
    assert (limit.limit, limit.expected_limit) == (4, 256)
    simulate(limit, slots(1), 10)
    assert limit.expected_limit == limit.limit <= 2


async def test_a_429_lowers_the_limit_of_its_endpoint() -> None:
    async with open_judge(fails(429), GOOD) as (judge, _):
        await ask(judge)
        assert judge.endpoints[0].concurrency.limit == 2
