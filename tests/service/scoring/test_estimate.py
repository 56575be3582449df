"""Estimates of scores, errors and reliability, against numbers by hand and by numpy."""

from math import exp, inf, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from podium_service.scoring.estimate import estimate_exact, estimate_unscored
from podium_service.scoring.signal_ratio import PRIOR_R, RATIOS_R
from tests.service.helpers import estimate

# Two passes. Means .25 .45 .80 around .5; pass means are .5 both. Residuals -+.05 +-.05 0, so
# MS_error = 4 * .0025 / 2 = .005; MS_items = 2 * (.0625 + .0025 + .09) / 2 = .155; F = 31.
TWO_PASSES = [[0.2, 0.5, 0.8], [0.3, 0.4, 0.8]]

# Three passes with means shifted by 0 .2 .1. Without these the rows are .3 .2 .4, .1 .3 .5, .2 .4
# .3: means .2 .3 .4, residuals .1 -.1 0, -.1 0 .1, 0 .1 -.1. MS_error = 6 * .01 / 4 = .015;
# MS_items = 3 * (.01 + 0 + .01) / 2 = .03; F = 2.
THREE_PASSES = [[0.3, 0.2, 0.4], [0.3, 0.5, 0.7], [0.3, 0.5, 0.4]]


def expected_reliability(f: float, passes: int, df_items: int, df_error: float = 1e9) -> float:
    """Average kR / (1 + kR) over ratios R weighed by prior and density of F / (1 + kR)."""
    spread_R = 1 + passes * RATIOS_R
    weights_R = PRIOR_R * stats.f.pdf(f / spread_R, df_items, df_error) / spread_R
    return float((weights_R * (1 - 1 / spread_R)).sum() / weights_R.sum())


def test_two_passes_equal_a_fit_by_hand() -> None:
    result = estimate(TWO_PASSES)
    assert result.means == [0.25, 0.45, 0.8]
    assert result.max_stderr == pytest.approx(0.05)  # sqrt(.005 / 2)
    assert result.p_value == pytest.approx(1 / 32)  # 1 / (1 + F) with 2 and 2 degrees of freedom
    share = expected_reliability(31, 2, 2, 2)
    assert 0.75 < share < 30 / 31  # F says little with so few degrees of freedom
    assert result.reliability == result.shrinkage == pytest.approx(share)
    assert result.scores == pytest.approx(
        [0.5 - 0.25 * share, 0.5 - 0.05 * share, 0.5 + 0.3 * share]
    )
    assert result.has_scores


def test_three_noisy_passes_are_shrunk_and_not_zeroed() -> None:
    result = estimate(THREE_PASSES)
    assert result.means == [0.3, 0.4, 0.5]
    assert result.max_stderr == pytest.approx(sqrt(0.015 / 3))
    assert result.p_value == pytest.approx(
        0.25
    )  # (1 + 2 * 2 / 4) ** -2, 2 and 4 degrees of freedom
    share = expected_reliability(2, 3, 2, 4)
    assert 0.3 < share < 0.7
    assert result.reliability == result.shrinkage == pytest.approx(share)
    assert result.scores == pytest.approx([0.4 - 0.1 * share, 0.4, 0.4 + 0.1 * share])
    assert result.test_signal(None) == result.test_signal(0.3) == result


def test_a_signal_test_ties_a_group_above_its_level() -> None:
    tested = estimate(THREE_PASSES).test_signal(0.05)
    assert tested.means == [0.3, 0.4, 0.5]
    assert tested.scores == pytest.approx([0.4] * 3)
    assert len(set(tested.scores)) == 1
    assert tested.reliability == tested.shrinkage == 0
    assert estimate([[0.2, 0.5, 0.8]], noise_sd=0.3).test_signal(0.05).reliability is None


def test_the_mean_of_a_pass_is_removed() -> None:
    shifted = [[score + 0.1 for score in TWO_PASSES[0]], [score - 0.3 for score in TWO_PASSES[1]]]
    result, plain = estimate(shifted), estimate(TWO_PASSES)
    assert result.stderr == pytest.approx(plain.stderr)
    assert result.reliability == pytest.approx(plain.reliability)
    assert result.means == pytest.approx([mean - 0.1 for mean in plain.means])


@pytest.mark.parametrize("half_range", [0.1, 0.21, 0.23])
def test_the_p_value_is_that_of_the_f_test(half_range: float) -> None:
    # MS_error = .005 as above, MS_items = 2 * 2 a^2 / 2 = 2 a^2. With 2 and 2 degrees of freedom
    # p = 1 / (1 + F).
    a = half_range
    result = estimate([[0.45 - a, 0.55, 0.5 + a], [0.55 - a, 0.45, 0.5 + a]])
    assert result.p_value == pytest.approx(1 / (1 + 2 * a * a / 0.005))


def test_two_trajectories_have_a_reliability() -> None:
    # Differences .4 and .44; means .3 .72; centre .51. MS_items = 2 * 2 * .21^2 = .1764.
    # Residuals +-.01, four of them: MS_error = .0004. F = 441 with 1 and 1 degrees of freedom.
    result = estimate([[0.3, 0.7], [0.3, 0.74]])
    assert result.p_value == pytest.approx(0.0302917, abs=1e-6)
    assert result.reliability == pytest.approx(expected_reliability(441, 2, 1, 1))
    # Differences .4 and .5: MS_items .2025, MS_error .0025, F = 81.
    less = estimate([[0.3, 0.7], [0.3, 0.8]])
    assert less.reliability == pytest.approx(expected_reliability(81, 2, 1, 1))
    assert less.shrinkage < result.shrinkage


def test_passes_that_agree_have_no_error_and_full_reliability() -> None:
    result = estimate([[0.1, 0.2, 0.2], [0.6, 0.7, 0.7]])  # the passes differ by a constant
    assert (result.max_stderr, result.reliability, result.p_value) == (0, 1, 0)
    assert result.means[1] == result.means[2]
    assert result.scores == pytest.approx([0.35, 0.45, 0.45])


def test_rounding_is_neither_signal_nor_noise() -> None:
    # .1 + .2 and .3 differ in the last bit.
    tied = estimate([[0.1 + 0.2, 0.3, 0.3], [0.3, 0.1 + 0.2, 0.3]])
    assert tied.means == [0.3, 0.3, 0.3]
    assert (tied.p_value, tied.reliability, tied.max_stderr) == (inf, 0, 0)


def test_passes_that_tie_all_have_no_reliability() -> None:
    result = estimate([[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]])
    assert (result.p_value, result.reliability, result.max_stderr) == (inf, 0, 0)
    assert result.scores == pytest.approx([0.7] * 3)
    assert len(set(result.scores)) == 1


def test_passes_that_contradict_each_other_have_no_reliability() -> None:
    result = estimate([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1]])
    assert (result.p_value, result.reliability) == (inf, 0)
    assert result.max_stderr == pytest.approx(sqrt(4 * 0.16 / 2 / 2))
    assert result.scores == [0.5] * 3


@pytest.mark.parametrize("noise_sd", [0.1, 0.17, 0.3])
def test_one_pass_takes_its_noise_from_the_configuration(noise_sd: float) -> None:
    # MS_items = 2 * .09 / 2 = .09; chi2 = .18 / variance over 2 degrees of freedom.
    result = estimate([[0.2, 0.5, 0.8]], noise_sd=noise_sd)
    assert result.max_stderr == pytest.approx(noise_sd)
    assert result.reliability is None
    share = expected_reliability(0.09 / noise_sd**2, 1, 2)
    assert result.shrinkage == pytest.approx(share, rel=1e-6)
    assert result.p_value == pytest.approx(exp(-0.09 / noise_sd**2))
    assert result.scores == pytest.approx([0.5 - 0.3 * share, 0.5, 0.5 + 0.3 * share])


def test_one_pass_of_unknown_noise_keeps_its_scores() -> None:
    result = estimate([[0.2, 0.5, 0.8]])
    assert result.scores == result.means == [0.2, 0.5, 0.8]
    assert result.stderr is None
    assert result.reliability is None
    # The posterior takes half of the variance, .09, for noise: half of each distance is left, with
    # an error of sqrt(.5 * .045).
    [assumed] = [component for component in result.posterior if component.weight]
    assert assumed.weight == 1
    assert assumed.means == pytest.approx([0.35, 0.5, 0.65])
    assert assumed.stderr == pytest.approx([0.15] * 3)


def test_residuals_of_passes_replace_the_configured_noise() -> None:
    assert estimate(TWO_PASSES, noise_sd=5.0) == estimate(TWO_PASSES)


def test_exact_scores_have_no_error() -> None:
    result = estimate_exact([1.0, 0.25, 0.25])
    assert result.scores == result.means == [1.0, 0.25, 0.25]
    assert (result.max_stderr, result.reliability) == (0, 1)
    tied = estimate_exact([0.1 + 0.2, 0.3])
    assert (tied.max_stderr, tied.reliability) == (0, 0)


def test_an_unscored_group_has_no_scores() -> None:
    result = estimate_unscored(1)
    assert not result.has_scores
    assert (result.reliability, result.stderr) == (0, None)
    assert len(result.means) == len(result.scores) == 1


GRID = st.integers(0, 20).map(lambda step: step / 20)  # the grid judges like
DYADIC = st.integers(0, 64).map(lambda step: step / 64)  # sums of these are exact


def verdicts(score: st.SearchStrategy[float]) -> st.SearchStrategy[list[list[float]]]:
    return st.tuples(st.integers(2, 5), st.integers(2, 6)).flatmap(
        lambda shape: st.lists(
            st.lists(score, min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        )
    )


def by_numpy(scores: list[list[float]]) -> tuple[float, float, float]:
    """Return MS_items, MS_error and the p value, by the textbook."""
    table: Any = np.array(scores)
    passes, items = table.shape
    fitted = table.mean(1, keepdims=True) + table.mean(0) - table.mean()
    ms_error = float(((table - fitted) ** 2).sum() / ((passes - 1) * (items - 1)))
    ms_items = float(passes * table.mean(0).var(ddof=1))
    ratio = ms_items / ms_error if ms_error > 1e-20 else np.inf
    p = float(stats.f.sf(ratio, items - 1, (passes - 1) * (items - 1)))
    return ms_items, ms_error, p if ms_items > 1e-20 else 1.0


@given(verdicts(GRID))
@settings(max_examples=50)
def test_the_estimate_equals_the_textbook_analysis_of_variance(scores: list[list[float]]) -> None:
    ms_items, ms_error, p = by_numpy(scores)
    result = estimate(scores)
    assert min(result.p_value, 1.0) == pytest.approx(p, abs=1e-9)
    assert result.max_stderr == pytest.approx(sqrt(ms_error / len(scores)), abs=1e-9)
    passes, items = len(scores), len(scores[0])
    expected = float(ms_items > 1e-20)
    if expected and ms_error > 1e-20:
        df_error = (passes - 1) * (items - 1)
        expected = expected_reliability(ms_items / ms_error, passes, items - 1, df_error)
    assert result.reliability == pytest.approx(expected, abs=1e-6)
    centre = np.mean(scores)
    shrunk = [centre + expected * (m - centre) for m in result.means]
    assert result.scores == pytest.approx(shrunk, abs=1e-6)


@given(verdicts(GRID | st.floats(0, 1)), st.randoms(use_true_random=False), st.sampled_from([1, 9]))
@settings(max_examples=50)
def test_permuting_trajectories_permutes_the_estimate(
    scores: list[list[float]], random: Any, passes: int
) -> None:
    scores = scores[:passes]
    order = random.sample(range(len(scores[0])), len(scores[0]))
    permuted = estimate([[row[i] for i in order] for row in scores], noise_sd=0.1)
    result = estimate(scores, noise_sd=0.1)
    assert permuted.means == [result.means[i] for i in order]
    assert permuted.scores == pytest.approx([result.scores[i] for i in order], abs=1e-9)
    assert permuted.stderr == pytest.approx(result.stderr, abs=1e-9)
    assert permuted.shrinkage == pytest.approx(result.shrinkage, abs=1e-9)


@given(verdicts(GRID | st.floats(0, 1)), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_passes_changes_nothing(scores: list[list[float]], random: Any) -> None:
    shuffled, result = estimate(random.sample(scores, len(scores))), estimate(scores)
    assert shuffled.means == result.means
    assert shuffled.shrinkage == pytest.approx(result.shrinkage, abs=1e-9)
    assert shuffled.stderr == pytest.approx(result.stderr, abs=1e-9)


@given(verdicts(DYADIC), st.lists(DYADIC, min_size=5, max_size=5))
@settings(max_examples=50)
def test_adding_a_constant_to_a_pass_changes_nothing(
    scores: list[list[float]], shifts: list[float]
) -> None:
    result = estimate(scores)
    shifted = estimate(
        [[score + shift for score in row] for row, shift in zip(scores, shifts, strict=False)]
    )
    mean_shift = sum(shifts[: len(scores)]) / len(scores)
    assert shifted.max_stderr == pytest.approx(result.max_stderr, abs=1e-9)
    assert shifted.reliability == pytest.approx(result.reliability, abs=1e-9)
    assert [score - mean_shift for score in shifted.scores] == pytest.approx(
        result.scores, abs=1e-9
    )


@given(verdicts(GRID | st.floats(0, 1)), st.none() | st.floats(0.01, 1), st.sampled_from([1, 9]))
@settings(max_examples=50)
def test_scores_stay_between_the_lowest_and_the_highest_mean(
    scores: list[list[float]], noise_sd: float | None, passes: int
) -> None:
    result = estimate(scores[:passes], noise_sd)
    assert min(result.means) - 1e-12 <= min(result.scores)
    assert max(result.scores) <= max(result.means) + 1e-12
    assert 0 <= result.shrinkage <= 1
    assert result.reliability is None or 0 <= result.reliability <= 1
