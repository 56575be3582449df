"""Listwise plans: how many passes a group is worth, and that a plan follows from its verdicts."""

from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_service.judges.limits import Passes
from podium_service.ranking.methods import METHODS, Situation
from podium_service.ranking.methods.listwise import LISTWISE
from podium_service.ranking.methods.method import is_settled
from podium_service.scoring.noise import JudgeNoise, learn_noise
from tests.service.simulated import past_groups, play, scorer, verdict

ADAPTIVE = Passes(min=2, max=8)
EASY = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
FLAT = [0.5] * 8
SIGNALS = cycle([0.0, 0.1, 0.4])  # past groups: a third without signal, a third easy
NOISE = learn_noise(past_groups(150, np.random.default_rng(2), signal_sd=lambda: next(SIGNALS)), 8)


def situation(
    passes: Passes = ADAPTIVE, seed: int = 1, noise: JudgeNoise | None = None
) -> Situation:
    return Situation(num_items=8, seed=seed, passes=passes, noise=noise)


def mean_passes(truth: list[float], noise_sd: float, noise: JudgeNoise | None = None) -> float:
    random = np.random.default_rng(5)
    played = [
        play(LISTWISE, situation(seed=seed, noise=noise), scorer(truth, noise_sd, random))
        for seed in range(40)
    ]
    return sum(sum(asked) for _, asked in played) / len(played)


def test_passes_that_are_known_to_be_needed_are_asked_at_once_and_the_rest_in_pairs() -> None:
    random = np.random.default_rng(1)
    hard = [float(each) for each in np.linspace(0.3, 0.7, 8)]
    _, asked = play(LISTWISE, situation(Passes(min=2, max=7)), scorer(hard, 0.2, random))
    assert asked[0] == 2
    assert set(asked[1:-1]) <= {2}
    _, fixed = play(LISTWISE, situation(Passes(min=4, max=4)), scorer(hard, 0.2, random))
    assert fixed == [4]


def test_once_the_liking_for_slots_is_known_passes_are_asked_singly() -> None:
    hard = [float(each) for each in np.linspace(0.3, 0.7, 8)]
    score = scorer(hard, 0.1, np.random.default_rng(1))
    _, asked = play(LISTWISE, situation(Passes(min=1, max=6), noise=NOISE), score)
    assert set(asked) == {1}


@pytest.mark.parametrize("noise", [None, NOISE])
def test_an_easy_group_and_one_without_signal_stop_early_and_a_hard_one_goes_on(
    noise: JudgeNoise | None,
) -> None:
    hard = [float(each) for each in np.linspace(0.4, 0.6, 8)]
    easy = mean_passes([3 * each for each in EASY], 0.1, noise)
    flat, middling = mean_passes(FLAT, 0.1, noise), mean_passes(hard, 0.1, noise)
    assert easy < 2.3
    assert flat < middling - 0.7
    assert easy < middling - 1
    assert middling > 3


def test_one_pass_of_an_unknown_judge_is_not_settled() -> None:
    """Else a judge asked once would never be known."""
    score = scorer(EASY, 0.1, np.random.default_rng(1))
    _, asked = play(LISTWISE, situation(Passes(min=1, max=4)), score)
    assert sum(asked) > 1
    _, once = play(LISTWISE, situation(Passes(min=1, max=1)), score)
    assert once == [1]


def test_until_stderr_is_obeyed() -> None:
    score = scorer(EASY, 0.1, np.random.default_rng(3))
    played, asked = play(LISTWISE, situation(Passes(min=2, max=40, until_stderr=0.03)), score)
    assert LISTWISE.estimate(played).max_stderr <= 0.03
    assert 6 <= sum(asked) <= 20  # .1 / sqrt(11) = .03
    before = {index: played.verdicts[index] for index in range(sum(asked) - 2)}
    assert LISTWISE.estimate(played.with_verdicts(before, 0)).max_stderr > 0.03
    _, capped = play(LISTWISE, situation(Passes(min=2, max=4, until_stderr=0.001)), score)
    assert sum(capped) == 4


def test_a_group_that_is_known_to_have_no_signal_stops_before_its_stderr_is_small() -> None:
    score = scorer(FLAT, 0.1, np.random.default_rng(3))
    passes = Passes(min=4, max=40, until_stderr=0.01)
    asked = [
        sum(play(LISTWISE, situation(passes, seed=seed, noise=NOISE), score)[1])
        for seed in range(20)
    ]
    assert np.median(asked) < 12


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
@settings(max_examples=10, deadline=None)
def test_no_method_shows_a_trajectory_more_often_than_it_may(
    method: str, least: int, more: int, seed: int, noise_sd: float
) -> None:
    passes = Passes(min=least, max=least + more)
    start = Situation(num_items=7, seed=seed, passes=passes, block_size=3)
    truth = [float(each) for each in np.random.default_rng(seed).random(7)]
    played, _ = play(METHODS[method], start, scorer(truth, noise_sd, np.random.default_rng(1)))
    shown = sum(len(each.order) for each in played.verdicts.values()) / 7
    if method == "pairwise":
        assert shown <= 2 * 8 * passes.max
    else:
        linking = METHODS[method].min_calls(start) * METHODS[method].shown(start) / 7
        assert shown <= max(linking, passes.max) + 3 / 7
        assert shown >= passes.min
    assert METHODS[method].plan(played) == {}


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32), st.data())
@settings(max_examples=10, deadline=None)
def test_a_plan_follows_from_the_verdicts_and_asks_only_for_what_is_missing(
    method: str, seed: int, data: st.DataObject
) -> None:
    """What was answered before a crash, in whatever order, is not asked for again."""
    start = Situation(num_items=6, seed=seed, passes=Passes(min=2, max=4), block_size=3)
    truth = [float(each) for each in np.random.default_rng(seed).random(6)]
    plan = METHODS[method].plan(start)
    assert plan == METHODS[method].plan(start)
    kept = data.draw(st.sets(st.sampled_from(sorted(plan)), max_size=len(plan) - 1))
    score = scorer(truth, 0.0, np.random.default_rng(1))
    at_hand = {index: verdict(plan[index], score(plan[index])) for index in kept}
    again = METHODS[method].plan(start.with_verdicts(at_hand, float("inf")))
    assert again
    assert not set(again) & kept
    assert set(again) <= set(plan)
    if method != "pairwise":  # there the other orders of what is at hand come first
        assert set(again) == set(plan) - kept


def test_settled_by_trust_or_by_what_another_pass_is_worth() -> None:
    random = np.random.default_rng(1)
    played, _ = play(LISTWISE, situation(Passes(min=2, max=2)), scorer(EASY, 0.01, random))
    assert is_settled(LISTWISE.estimate(played), ADAPTIVE)
