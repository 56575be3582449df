"""A ranking beside the one that it judges again, and the price that a person has seen."""

from dataclasses import replace

import pytest

from podium_service.pages.operation.again import (
    Choice,
    Price,
    compare_rankings,
    dumbbell,
    list_judged,
)
from podium_service.ranking.kinds.estimate import Cost, CostRange
from podium_service.schemas.history import RankingDetail
from tests.service.helpers import group
from tests.service.pages.samples import detail_of

CHOICE = Choice("main", flip_order=True, rubric="Be fair.")


def with_rewards(*rewards: float) -> RankingDetail:
    detail = detail_of(group(*("x" * size for size in range(1, len(rewards) + 1))))
    assert detail.ranking
    for result, reward in zip(detail.ranking.results, rewards, strict=True):
        result.reward = reward
    detail.summary.rewards = list(rewards)
    return detail


def test_rewards_that_change_sides_of_the_mean_turn() -> None:
    # The means are .5 and .45: t0 stays above, t1 rises from below, t2 is at the mean, t3 stays.
    first, second = with_rewards(0.9, 0.2, 0.5, 0.4), with_rewards(0.8, 0.6, 0.3, 0.1)
    found = compare_rankings(first, second)
    assert found
    assert [each.turns for each in found.changes] == [False, True, False, False]
    assert [each.after for each in found.changes] == pytest.approx([0.35, 0.15, -0.15, -0.35])
    assert found.tau == pytest.approx((4 - 2) / 6)  # of 6 pairs, t1 with t2 and with t3 swap
    [line] = list_judged(first.summary, [(second.summary, True)])
    assert (line.tau, line.num_turned, line.is_rubric_new) == (found.tau, 1, True)


def test_rankings_of_other_attempts_are_not_compared() -> None:
    first = with_rewards(0.9, 0.1)
    assert compare_rankings(first, with_rewards(0.9, 0.5, 0.1)) is None
    assert compare_rankings(first, first.model_copy(update={"ranking": None})) is None


def priced(tokens: int, usd: float | None, *, is_stored: bool = False) -> Price:
    cost = CostRange(Cost(1, 1, 1, usd), Cost(1, tokens, 0, usd))
    return Price(CHOICE, cost, is_stored, "")


def test_a_price_that_is_much_the_same_was_seen() -> None:
    seen = priced(1000, 0.01)
    assert priced(1090, 0.0109).is_as_seen(seen.seal)
    assert priced(1, 0.0).is_as_seen(seen.seal)
    assert not priced(1110, 0.01).is_as_seen(seen.seal)
    assert not priced(1000, 0.02).is_as_seen(seen.seal)
    free = priced(1000, 0.01, is_stored=True)
    assert free.is_as_seen(seen.seal)
    assert not seen.is_as_seen(free.seal)
    assert not replace(seen, choice=replace(CHOICE, rubric="")).is_as_seen(seen.seal)
    for forged in ("", "x", "x:y:z", seen.seal.replace(":", ";")):
        assert not seen.is_as_seen(forged)


def test_a_line_from_one_reward_to_the_other_stays_within() -> None:
    svg = dumbbell(-0.5, 1.5, 0.5)
    assert 'x1="6.0" x2="162.0"' in svg
    assert 'aria-label="reward -0.500, then 1.500"' in svg
