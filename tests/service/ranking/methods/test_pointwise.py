"""Pointwise: one trajectory a call, in whole rounds that rate all equally often."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from podium_service.judges.limits import Passes
from podium_service.ranking.methods import Situation
from podium_service.ranking.methods.pointwise import POINTWISE
from podium_service.scoring.rewards import compute_rewards
from tests.fakes import ScriptedJudge, rates, says
from tests.service.helpers import llm, request, service
from tests.service.simulated import Scorer, play, scorer

pytestmark = pytest.mark.anyio


def situation(num_items: int, least: int, most: int) -> Situation:
    return Situation(num_items=num_items, seed=1, passes=Passes(min=least, max=most))


def test_the_mean_rating_worked_out_by_hand() -> None:
    # Means .2 .6 .7; MS_items = 2 * (.09 + .01 + .04) / 2 = .14; MS_error = 4 * .0025 / 3.
    given_ratings = {0: [0.15, 0.25], 1: [0.6, 0.6], 2: [0.75, 0.65]}
    turn: Counter[int] = Counter()

    def score(order: Sequence[int]) -> list[float]:
        [item] = order
        turn[item] += 1
        return [given_ratings[item][turn[item] - 1]]

    played, asked = play(POINTWISE, situation(3, 2, 2), score)
    found = POINTWISE.estimate(played)
    assert asked == [6]
    assert found.means == [0.2, 0.6, 0.7]
    assert found.p_value == pytest.approx(float(stats.f.sf(42, 2, 3)))
    assert 0.85 < found.shrinkage < 1 - 0.01 / 3 / 0.14
    assert found.max_stderr == pytest.approx((0.01 / 3 / 2) ** 0.5)
    assert compute_rewards(found, "rank") == [0, 0.5, 1]


@given(st.integers(2, 20), st.integers(1, 4), st.integers(0, 4), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_all_are_rated_equally_often_within_the_budget(
    num_items: int, least: int, more: int, beyond: int
) -> None:
    truth = [each / num_items for each in range(num_items)]
    score: Scorer = scorer(truth, 0.2, np.random.default_rng(1))
    calls = num_items + beyond
    played, asked = play(POINTWISE, situation(num_items, least, least + more), score, calls)
    rated = Counter(item for each in played.verdicts.values() for item in each.order)
    assert sum(asked) <= calls
    assert len(rated) == num_items
    assert len(set(rated.values())) == 1


def test_ratings_go_on_until_they_are_settled() -> None:
    random = np.random.default_rng(1)
    easy = scorer([0.1, 0.5, 0.9], 0.01, random)
    hard = scorer([0.4, 0.5, 0.6], 0.1, random)
    num_calls = [sum(play(POINTWISE, situation(3, 2, 9), each)[1]) for each in (easy, hard)]
    assert num_calls[0] <= num_calls[1]


async def test_expected_digits_rank_trajectories_that_digits_tie(tmp_path: Path) -> None:
    rating = {"good": 7.4, "better": 7.8, "worst": 2.0}
    steps = rates(lambda text: next(rating[word] for word in rating if word in text))
    async with (
        ScriptedJudge(always=steps).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="pointwise")) as opened,
    ):
        ranking = await opened.ranker.rank(request("a good one", "a better one", "the worst one"))
    assert judge.calls == ranking.usage.calls == 6
    assert all(len(asked.shown) == 1 for asked in judge.asked)
    assert [result.score for result in ranking.results] == pytest.approx([7.4 / 9, 7.8 / 9, 2 / 9])
    assert [result.rank for result in ranking.results] == [2, 1, 3]


async def test_without_logprobs_the_digit_counts(tmp_path: Path) -> None:
    async with (
        ScriptedJudge(
            always=rates(lambda text: 9.0 if "nine" in text else 3.0, logprobs=False)
        ).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="pointwise")) as opened,
    ):
        ranking = await opened.ranker.rank(request("it is nine", "it is three"))
    assert [result.score for result in ranking.results] == pytest.approx([1, 1 / 3])


async def test_a_reply_without_a_digit_is_corrected_once(tmp_path: Path) -> None:
    script = [says("Quite good."), *[rates(lambda text: len(text) % 9)] * 4]
    async with (
        ScriptedJudge(script).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="pointwise", concurrency=1)) as opened,
    ):
        ranking = await opened.ranker.rank(request("it is nine", "it is three"))
    assert judge.calls == ranking.usage.calls == 5
    corrected = next(asked for asked in judge.asked if len(asked.body["messages"]) == 4)
    assert "one digit and nothing else" in corrected.body["messages"][-1]["content"]
