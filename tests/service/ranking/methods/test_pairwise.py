"""Pairwise: both orders are averaged, and calls go to the least certain pairs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from podium_service.errors import PodiumError
from podium_service.judges.limits import Passes
from podium_service.ranking.methods import Situation
from podium_service.ranking.methods.designs import links_all
from podium_service.ranking.methods.pairwise import PAIRWISE
from podium_service.schemas import Ranking
from tests.fakes import Answer, Asked, ScriptedJudge, Step, chooses, fails, later, says
from tests.service.helpers import llm, request, service
from tests.service.simulated import Scorer, play, verdict

pytestmark = pytest.mark.anyio

ONCE = Passes(min=1, max=1)
WORDS = ("worth 0.1", "worth 0.4", "worth 0.6", "worth 0.9")


def worth(text: str) -> float:
    return float(text.split("worth ")[1][:3])


def prefers(one: str, two: str) -> float:
    return float(expit(4 * (worth(one) - worth(two))))


def choices(truth: list[float], random: np.random.Generator) -> Scorer:
    """Flip coins whose chance is that of Bradley and Terry."""

    def choose(order: Sequence[int]) -> list[float]:
        first, second = order
        wins = float(random.random() < expit(truth[first] - truth[second]))
        return [wins, 1 - wins]

    return choose


def situation(num_items: int, passes: Passes = ONCE, seed: int = 1) -> Situation:
    return Situation(num_items=num_items, seed=seed, passes=passes)


async def ranked(
    tmp_path: Path, step: Step, *words: str, **settings: object
) -> tuple[Ranking, ScriptedJudge]:
    async with (
        ScriptedJudge(always=step).serving() as judge,
        service(tmp_path, main=llm(judge.url, method="pairwise", **settings)) as opened,
    ):
        return await opened.ranker.rank(request(*words)), judge


async def test_a_small_group_has_every_pair_asked_in_both_orders(tmp_path: Path) -> None:
    ranking, judge = await ranked(tmp_path, chooses(prefers), *WORDS)
    pairs = Counter(tuple(map(worth, asked.shown.values())) for asked in judge.asked)
    assert len(pairs) == ranking.usage.calls == 12
    assert set(pairs.values()) == {1}
    assert all(pair[::-1] in pairs for pair in pairs)
    assert [result.rank for result in ranking.results] == [4, 3, 2, 1]
    assert ranking.method == "pairwise"
    assert judge.asked[0].body["logprobs"] is True


@pytest.mark.parametrize("logprobs", [True, False])
async def test_a_judge_that_always_names_slot_1_gives_no_signal(
    tmp_path: Path, logprobs: bool
) -> None:
    ranking, _ = await ranked(tmp_path, chooses(lambda *_: 0.97, logprobs=logprobs), *WORDS)
    assert [result.reward for result in ranking.results] == [0.5] * 4
    assert ranking.reliability == 0


async def test_probabilities_recover_the_order_from_a_biased_judge(
    tmp_path: Path,
) -> None:
    def biased(one: str, two: str) -> float:
        return float(expit(3.5 + logit(prefers(one, two))))

    assert biased(WORDS[0], WORDS[3]) > 0.5
    ranking, _ = await ranked(tmp_path, chooses(biased), *WORDS)
    assert [result.rank for result in ranking.results] == [4, 3, 2, 1]
    assert ranking.results[0].reward < 0.2 < 0.8 < ranking.results[3].reward


async def test_a_judge_without_logprobs_is_read_by_its_letters(tmp_path: Path) -> None:
    ranking, _ = await ranked(tmp_path, chooses(prefers, logprobs=False), *WORDS)
    assert [result.rank for result in ranking.results] == [4, 3, 2, 1]


async def test_an_endpoint_that_refuses_logprobs_is_asked_without(tmp_path: Path) -> None:
    def picky(asked: Asked) -> Answer:
        if "logprobs" in asked.body:
            return fails(400, "logprobs are not supported with this model")(asked)
        return chooses(prefers, logprobs=False)(asked)

    ranking, _ = await ranked(tmp_path, picky, *WORDS, concurrency=1)
    assert [result.rank for result in ranking.results] == [4, 3, 2, 1]
    assert ranking.usage.calls == 12


async def test_a_retry_asks_only_the_orders_that_are_missing(tmp_path: Path) -> None:
    seen = []

    def step(asked: Asked) -> Answer:
        pair = tuple(map(worth, asked.shown.values()))
        seen.append(pair)
        if pair[0] > pair[1] and not healed:
            return later(fails(401), 1.5)(asked)  # after the others were kept
        return chooses(prefers)(asked)

    healed: list[bool] = []
    async with ScriptedJudge(always=step, hold=12).serving() as judge:
        at_once = {"min": 12, "max": 12}
        main = llm(judge.url, method="pairwise", attempts=1, concurrency=at_once)
        async with service(tmp_path, main=main) as opened:
            with pytest.raises(PodiumError):
                await opened.ranker.rank(request(*WORDS))
        assert len(seen) == 12
        healed.append(True)
        judge.hold = 0
        async with service(tmp_path, main=main) as opened:
            ranking = await opened.ranker.rank(request(*WORDS))
    assert all(first > second for first, second in seen[12:])
    assert ranking.usage.calls == len(seen) - 12 == 6
    assert [result.rank for result in ranking.results] == [4, 3, 2, 1]


@given(st.integers(2, 24), st.integers(0, 90), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_both_orders_are_asked_and_the_budget_is_kept(
    num_items: int, beyond: int, seed: int
) -> None:
    calls = 2 * (num_items - 1) + beyond
    random = np.random.default_rng(seed)
    truth = [float(each) for each in random.normal(0, 2, num_items)]
    played, asked = play(PAIRWISE, situation(num_items, seed=seed), choices(truth, random), calls)
    orders = Counter(tuple(each.order) for each in played.verdicts.values())
    assert all(orders[pair] == orders[pair[::-1]] for pair in orders)
    assert sum(asked) <= min(calls, 8 * num_items)
    assert links_all(num_items, [list(pair) for pair in orders])


def test_without_a_budget_a_trajectory_costs_eight_calls_at_most() -> None:
    random = np.random.default_rng(1)
    for num_items, most in ((9, 72), (10, 80), (32, 256)):
        truth = [float(each) for each in random.normal(0, 0.7, num_items)]
        _, asked = play(PAIRWISE, situation(num_items), choices(truth, random))
        assert sum(asked) <= most
    _, asked = play(PAIRWISE, situation(9), choices([0.0] * 9, random))
    assert asked == [72]  # all pairs, both orders, at once


def test_an_odd_call_of_the_budget_is_left_over() -> None:
    random = np.random.default_rng(1)
    truth = [float(each) for each in range(6)]
    _, asked = play(PAIRWISE, situation(6), choices(truth, random), calls=13)
    assert sum(asked) == 12
    assert all(each % 2 == 0 for each in asked)


def test_the_budget_is_spent_on_neighbours() -> None:
    """Pairs that are told apart already add no information."""
    random = np.random.default_rng(1)
    truth = [1.0 * each for each in range(12)]
    played, _ = play(PAIRWISE, situation(12), choices(truth, random), calls=84)
    first = 2 * 12  # a cycle over a random order links all
    later_pairs = [each.order for each in list(played.verdicts.values())[first:]]
    gaps = [abs(i - j) for i, j in later_pairs]
    assert np.mean(gaps) < 3  # 4.3 if pairs came by chance


def test_two_passes_ask_every_pair_twice_in_each_order() -> None:
    random = np.random.default_rng(1)
    played, asked = play(PAIRWISE, situation(4, Passes(min=2, max=2)), choices([0.0] * 4, random))
    assert asked == [24]
    orders = Counter(tuple(each.order) for each in played.verdicts.values())
    assert set(orders.values()) == {2}


def test_the_missing_order_of_a_pair_is_asked_first() -> None:
    start = situation(5)
    plan = PAIRWISE.plan(start)
    index = next(iter(plan))
    at_hand = {index: verdict(plan[index], [1.0, 0.0])}
    [(_, order)] = PAIRWISE.plan(start.with_verdicts(at_hand, float("inf"))).items()
    assert order == plan[index][::-1]
    assert PAIRWISE.plan(start.with_verdicts(at_hand, 0)) == {}


async def test_a_reply_without_a_letter_is_corrected_once_then_fails(
    tmp_path: Path,
) -> None:
    with pytest.raises(PodiumError, match="names none of"):
        await ranked(tmp_path, says("both are fine"), *WORDS[:2])
