"""Drift of a judge is marked where it begins, and rarely where there is none."""

import numpy as np

from podium_service.pages.operation.drift import find_windows
from podium_service.scoring.noise import PastGroup
from podium_service.store.history.judging import TimedGroup
from tests.service.simulated import past_groups


def timed(*some: list[PastGroup]) -> list[TimedGroup]:
    return [
        TimedGroup(float(at), past)
        for at, past in enumerate(each for part in some for each in part)
    ]


def test_a_window_is_twenty_groups_and_the_newest_count() -> None:
    windows = find_windows(timed(past_groups(47, np.random.default_rng(1))))
    assert [(each.at, each.groups) for each in windows] == [(26.0, 20), (46.0, 20)]
    assert find_windows(timed(past_groups(19, np.random.default_rng(1)))) == []


def test_a_steady_judge_does_not_drift() -> None:
    random = np.random.default_rng(2)
    windows = find_windows(timed(past_groups(400, random, slope=0.1)))
    assert len(windows) == 20
    assert sum(each.has_drifted for each in windows) == 0
    assert abs(np.mean([each.noise_sd for each in windows]) - 0.1) < 0.02


def test_more_noise_and_less_noise_are_told_apart() -> None:
    random = np.random.default_rng(3)
    loud = past_groups(20, random, noise_sd=lambda: 0.2)
    quiet = past_groups(20, random, noise_sd=lambda: 0.02)
    windows = find_windows(timed(past_groups(60, random), loud, quiet))
    assert [each.is_noisier for each in windows] == [False, False, False, True, False]
    assert [each.is_calmer for each in windows] == [False, False, False, False, True]


def test_a_new_liking_for_late_slots_is_marked() -> None:
    random = np.random.default_rng(4)
    groups = timed(past_groups(60, random), past_groups(20, random, slope=0.4))
    windows = find_windows(groups)
    assert [each.has_new_slots for each in windows] == [False, False, False, True]
    gain = windows[-1].slot_gain
    assert gain is not None
    assert gain > 0.2


def test_a_judge_without_noise_has_none() -> None:
    random = np.random.default_rng(5)
    exact = past_groups(40, random, noise_sd=lambda: 0.0)
    windows = find_windows(timed(exact, past_groups(20, random)))
    assert [each.noise_sd < 1e-6 for each in windows] == [True, True, False]
    assert windows[-1].is_noisier
