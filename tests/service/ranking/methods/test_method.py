"""Every method: its plans stay within the passes and ask only for what is missing, at low cost."""

from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from podium_service.judges.limits import Passes
from podium_service.ranking.methods import METHODS, Situation
from podium_service.ranking.methods.listwise import LISTWISE
from podium_service.ranking.methods.method import is_settled
from podium_service.scoring.noise import JudgeNoise, learn_noise
from podium_service.scoring.rewards import win_probability
from tests.service.simulated import past_groups, play, scorer, verdict

EASY = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
NOISE = learn_noise(past_groups(40, np.random.default_rng(1), num_items=64, passes=2), 64)
TARGET_MS = 5.0


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
@settings(max_examples=10, deadline=None)
def test_every_method_shows_trajectories_within_its_passes(
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
        linking = METHODS[method].min_calls(start) * METHODS[method].call_size(start) / 7
        assert shown <= max(linking, passes.max) + 3 / 7
        assert shown >= passes.min
    assert METHODS[method].plan(played) == {}


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(0, 2**32), st.data())
@settings(max_examples=10, deadline=None)
def test_a_plan_asks_only_for_missing_verdicts(method: str, seed: int, data: st.DataObject) -> None:
    """A verdict that arrived before a crash, in any order, is not asked for again."""
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
    if method != "pairwise":  # pairwise asks the other orders of answered pairs first
        assert set(again) == set(plan) - kept


def test_a_clear_group_is_settled() -> None:
    random = np.random.default_rng(1)
    start = Situation(num_items=8, seed=1, passes=Passes(min=2, max=8))
    played, asked = play(LISTWISE, start, scorer(EASY, 0.01, random))
    assert asked == [2]
    assert is_settled(played, LISTWISE.estimate(played), 2)


def choose_by_worth(num_items: int, random: np.random.Generator) -> Callable[[Any], list[float]]:
    truth = random.normal(0, 1, num_items)

    def choose(order: Any) -> list[float]:
        wins = round(float(expit(truth[order[0]] - truth[order[1]] + random.normal(0, 0.5))), 12)
        return [wins, 1 - wins]

    return choose


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [None, NOISE])
def test_64_trajectories_cost_a_few_milliseconds_of_planning(
    method: str, noise: JudgeNoise | None
) -> None:
    """Bound the CPU time at six times the target, because the machine may be busy."""
    random = np.random.default_rng(1)
    passes = Passes(min=1, max=1) if method == "pairwise" else Passes(min=4, max=4)
    truth = [float(each) for each in random.normal(0.5, 0.1, 64)]
    score = choose_by_worth(64, random) if method == "pairwise" else scorer(truth, 0.1, random)
    spent_ms = []
    for seed in range(5):
        situation = Situation(num_items=64, seed=seed, passes=passes, noise=noise)
        planning = 0.0
        while True:
            started = process_time()
            plan = METHODS[method].plan(situation)
            planning += process_time() - started
            if not plan:
                break
            new = {index: verdict(order, score(order)) for index, order in plan.items()}
            situation = situation.with_verdicts({**situation.verdicts, **new}, float("inf"))
        started = process_time()
        wins = win_probability(METHODS[method].estimate(situation))
        spent_ms.append(1000 * (planning + process_time() - started))
        assert len(wins) == 64
    assert min(spent_ms) < 6 * TARGET_MS, spent_ms
