"""Listwise plans: the number of passes, and questions that follow from the verdicts."""

from itertools import cycle

import numpy as np
import pytest

from podium_service.judges.limits import Passes
from podium_service.ranking.methods import Situation
from podium_service.ranking.methods.listwise import LISTWISE
from podium_service.scoring.noise import JudgeNoise, learn_noise
from tests.service.simulated import past_groups, play, scorer

ADAPTIVE = Passes(min=2, max=8)
EASY = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
FLAT = [0.5] * 8
SIGNALS = cycle([0.0, 0.1, 0.4])  # past groups: a third without signal, a third easy
NOISE = learn_noise(past_groups(150, np.random.default_rng(2), signal_sd=lambda: next(SIGNALS)), 8)


def situation(
    passes: Passes = ADAPTIVE, seed: int = 1, noise: JudgeNoise | None = None
) -> Situation:
    return Situation(num_items=8, seed=seed, passes=passes, noise=noise)


def mean_passes(
    truth: list[float], noise_sd: float, noise: JudgeNoise | None, passes: Passes
) -> float:
    random = np.random.default_rng(5)
    played = [
        play(LISTWISE, situation(passes, seed, noise), scorer(truth, noise_sd, random))
        for seed in range(40)
    ]
    return sum(sum(asked) for _, asked in played) / len(played)


def test_the_least_passes_are_asked_at_once_and_more_in_pairs() -> None:
    random = np.random.default_rng(1)
    hard = [float(each) for each in np.linspace(0.3, 0.7, 8)]
    _, asked = play(LISTWISE, situation(Passes(min=2, max=7)), scorer(hard, 0.2, random))
    assert asked[0] == 2
    assert set(asked[1:-1]) <= {2}
    _, fixed = play(LISTWISE, situation(Passes(min=4, max=4)), scorer(hard, 0.2, random))
    assert fixed == [4]


def test_passes_come_singly_once_the_slot_bias_is_known() -> None:
    hard = [float(each) for each in np.linspace(0.3, 0.7, 8)]
    score = scorer(hard, 0.1, np.random.default_rng(1))
    _, asked = play(LISTWISE, situation(Passes(min=1, max=6), noise=NOISE), score)
    assert set(asked) == {1}


def test_only_groups_in_between_need_many_passes() -> None:
    """An easy group is settled at once, and one that looks like equals is given up."""
    passes = Passes(min=1, max=8, rollout_cost=10)
    hard = [float(each) for each in np.linspace(0.3, 0.7, 8)]
    easy = mean_passes([3 * each for each in EASY], 0.1, NOISE, passes)
    flat, middling = (mean_passes(truth, 0.1, NOISE, passes) for truth in (FLAT, hard))
    assert easy == 1
    assert flat < middling - 0.5
    assert middling > 2


def test_passes_grow_with_the_root_of_the_rollout_cost() -> None:
    """At a signal ratio of 1 about the root itself results."""
    noise = learn_noise(past_groups(200, np.random.default_rng(4), signal_sd=lambda: 0.1), 8)
    truth = [float(each) for each in np.random.default_rng(7).normal(0.5, 0.1, 8)]
    found = {
        cost: mean_passes(truth, 0.1, noise, Passes(min=1, max=16, rollout_cost=cost))
        for cost in (0.3, 1.0, 4.0, 16.0)
    }
    assert found[0.3] == pytest.approx(1, abs=0.1)
    assert found[1.0] == pytest.approx(1, abs=0.4)
    assert found[4.0] == pytest.approx(2, abs=0.5)
    assert found[16.0] == pytest.approx(4, abs=0.8)


def test_an_unknown_judge_is_asked_by_the_groups_own_yield() -> None:
    """Two passes at least tell the noise; r(2) / (cost + 2) is small where a rollout is dear."""
    hard = [float(each) for each in np.linspace(0.3, 0.7, 8)]
    cheap = mean_passes(hard, 0.1, None, Passes(min=2, max=16, rollout_cost=1))
    dear = mean_passes(hard, 0.1, None, Passes(min=2, max=16, rollout_cost=16))
    assert cheap < 2.5
    assert dear > cheap + 1


def test_one_pass_of_an_unknown_judge_is_not_settled() -> None:
    """Otherwise the noise of a judge that is asked once would stay unknown."""
    score = scorer(EASY, 0.1, np.random.default_rng(1))
    _, asked = play(LISTWISE, situation(Passes(min=1, max=4)), score)
    assert sum(asked) > 1
    _, once = play(LISTWISE, situation(Passes(min=1, max=1)), score)
    assert once == [1]


def test_passes_stop_at_until_stderr() -> None:
    score = scorer(EASY, 0.1, np.random.default_rng(3))
    played, asked = play(LISTWISE, situation(Passes(min=2, max=40, until_stderr=0.03)), score)
    assert LISTWISE.estimate(played).max_stderr <= 0.03
    assert 6 <= sum(asked) <= 20  # .1 / sqrt(11) = .03
    before = {index: played.verdicts[index] for index in range(sum(asked) - 2)}
    assert LISTWISE.estimate(played.with_verdicts(before, 0)).max_stderr > 0.03
    _, capped = play(LISTWISE, situation(Passes(min=2, max=4, until_stderr=0.001)), score)
    assert sum(capped) == 4


def test_until_stderr_holds_in_groups_without_signal() -> None:
    score = scorer(FLAT, 0.1, np.random.default_rng(3))
    passes = Passes(min=4, max=40, until_stderr=0.03)
    asked = sum(play(LISTWISE, situation(passes, noise=NOISE), score)[1])
    assert 9 <= asked <= 13  # .1 / sqrt(11) = .03
