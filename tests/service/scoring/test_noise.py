"""Noise learnt from past groups, against simulated judges whose noise is known."""

from dataclasses import replace
from itertools import cycle
from math import inf

import numpy as np
import orjson
import pytest
from numpy.random import default_rng

from podium_service.scoring.estimate import estimate_passes
from podium_service.scoring.least_squares import KNOTS
from podium_service.scoring.noise import (
    DRIFT_HALF_LIFE,
    EMPTY_PAST_GROUP,
    MIN_GROUPS,
    JudgeNoise,
    PastGroup,
    SlotDrift,
    learn_noise,
)
from podium_service.scoring.signal_ratio import RATIOS_R
from tests.service.simulated import listwise_passes, past_groups, scorer

HOMOGENEOUS = past_groups(300, default_rng(11), slope=0.3)
MIXED = cycle([0.0, 0.0, 0.1])
TWO_KINDS = past_groups(300, default_rng(12), signal_sd=lambda: next(MIXED))


def required(noise: JudgeNoise | None) -> JudgeNoise:
    assert noise is not None
    return noise


def test_the_variance_of_the_noise_is_learnt() -> None:
    noise = required(learn_noise(HOMOGENEOUS, 8))
    assert noise.variance == pytest.approx(0.01, rel=0.05)
    assert noise.groups == 300


def test_the_slot_bias_is_learnt() -> None:
    noise = required(learn_noise(HOMOGENEOUS, 8))
    assert noise.slots == pytest.approx(np.linspace(-0.15, 0.15, KNOTS), abs=0.02)
    assert sum(noise.slots) == pytest.approx(0, abs=1e-6)


def test_the_distribution_of_signal_ratios_is_learnt() -> None:
    ratios_R = required(learn_noise(TWO_KINDS, 8)).ratios_R
    assert ratios_R.sum() == pytest.approx(1, abs=1e-6)
    assert ratios_R[RATIOS_R <= 0.06].sum() == pytest.approx(2 / 3, abs=0.1)
    assert ratios_R[(RATIOS_R >= 0.35) & (RATIOS_R <= 3)].sum() == pytest.approx(1 / 3, abs=0.1)
    assert ratios_R[RATIOS_R > 5].sum() < 0.03


def test_evenly_noisy_groups_give_many_degrees_of_freedom() -> None:
    assert required(learn_noise(HOMOGENEOUS, 8)).df > 100


def test_unevenly_noisy_groups_give_few_degrees_of_freedom() -> None:
    sds = cycle([0.03, 0.1, 0.3])
    noise = required(learn_noise(past_groups(200, default_rng(13), noise_sd=lambda: next(sds)), 8))
    assert 2 < noise.df < 8


def test_too_few_groups_give_no_noise() -> None:
    assert learn_noise(HOMOGENEOUS[: MIN_GROUPS - 1], 8) is None
    assert learn_noise(HOMOGENEOUS[:MIN_GROUPS], 8) is not None
    single = past_groups(MIN_GROUPS, default_rng(14), passes=1)  # one pass has no residuals
    assert learn_noise(single, 8) is None
    assert learn_noise([EMPTY_PAST_GROUP] * 100, 8) is None


def test_only_lists_of_about_the_same_length_count() -> None:
    assert learn_noise(HOMOGENEOUS, 16) is None
    assert learn_noise(HOMOGENEOUS, 9) is not None
    short = [replace(group, length=4) for group in HOMOGENEOUS[:100]]
    assert required(learn_noise(short + HOMOGENEOUS[:50], 4)).groups == 100


def test_a_judge_without_noise_has_full_reliability() -> None:
    noise = required(learn_noise(past_groups(30, default_rng(15), noise_sd=lambda: 0.0), 8))
    assert noise.variance == pytest.approx(0, abs=1e-9)
    result = estimate_passes(3, [([0, 1, 2], [0.1, 0.5, 0.5])], replace(noise, variance=0.0))
    assert (result.p_value, result.reliability) == (0, 1)


@pytest.mark.parametrize("noise", [learn_noise(HOMOGENEOUS, 8), JudgeNoise.from_sd(0.2)])
def test_judge_noise_survives_json_bit_for_bit(noise: JudgeNoise) -> None:
    assert JudgeNoise.from_json(orjson.loads(orjson.dumps(noise.to_json()))) == noise


def test_configured_noise_is_certain() -> None:
    noise = JudgeNoise.from_sd(0.2)
    assert noise.variance == pytest.approx(0.04)
    assert (noise.df, noise.groups, noise.slots_K) == (inf, 0, None)


@pytest.mark.parametrize("passes", [1, 2, 4])
def test_learnt_noise_keeps_the_level_of_the_signal_test(passes: int) -> None:
    """It also finds more real differences than the group's own residuals do."""
    level = 0.05
    noise, random = required(learn_noise(HOMOGENEOUS, 8)), default_rng(passes)
    null, real, alone = 0, 0, 0
    for seed in range(2000):
        score = scorer([0.5] * 8, 0.1, random, 0.3)
        scored = listwise_passes(8, passes, seed, score)
        null += estimate_passes(8, scored, noise).p_value <= level
    for seed in range(300):
        score = scorer([float(each) for each in random.normal(0.5, 0.1, 8)], 0.1, random, 0.3)
        scored = listwise_passes(8, passes, seed, score)
        real += estimate_passes(8, scored, noise).p_value <= level
        alone += passes > 1 and estimate_passes(8, scored).p_value <= level
    assert null / 2000 == pytest.approx(level, abs=0.015)
    if passes < 4:
        assert real > alone + 30
    else:
        assert real >= alone


def test_one_pass_with_learned_noise_has_error_and_reliability() -> None:
    noise, random = required(learn_noise(HOMOGENEOUS, 8)), default_rng(1)
    truth = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    result = estimate_passes(8, listwise_passes(8, 1, 1, scorer(truth, 0.1, random, 0.3)), noise)
    assert result.reliability == pytest.approx(0.8, abs=0.15)
    assert result.max_stderr == pytest.approx(0.1, rel=0.1)
    alone = estimate_passes(8, listwise_passes(8, 1, 1, scorer(truth, 0.1, random, 0.3)))
    assert (alone.reliability, alone.stderr) == (None, None)


def test_learnt_reliability_equals_that_of_the_truth() -> None:
    """The F ratio of one group is uncertain, so past groups decide how much signal there is."""
    past = past_groups(300, default_rng(16), passes=2)
    noise, random = required(learn_noise(past, 8)), default_rng(3)
    shrinkages = []
    for seed in range(300):
        truth = [float(each) for each in random.normal(0.5, 0.1, 8)]
        result = estimate_passes(8, listwise_passes(8, 2, seed, scorer(truth, 0.1, random)), noise)
        shrinkages.append(result.shrinkage)
    assert np.mean(shrinkages) == pytest.approx(2 / 3, abs=0.06)  # ratio 1, two passes


def test_a_drift_shows_within_the_last_groups() -> None:
    line = np.linspace(-0.5, 0.5, KNOTS)

    def past_group(bias: float) -> PastGroup:
        return PastGroup(4, 4, 1.0, 1.0, 1.0, 3.0, np.eye(KNOTS).tolist(), (bias * line).tolist())

    drift = SlotDrift()
    assert drift.add(EMPTY_PAST_GROUP) is None
    before = [drift.add(past_group(0.0)) for _ in range(500)]
    after = [drift.add(past_group(0.2)) for _ in range(4 * DRIFT_HALF_LIFE)]
    assert before[-1] == 0
    assert after[DRIFT_HALF_LIFE - 1] == pytest.approx(0.1, abs=0.001)
    assert after[-1] == pytest.approx(0.2 * 15 / 16, abs=0.001)
