"""Verdicts -> score, stderr, reliability, against numbers worked out by hand and by numpy."""

from math import exp, isclose, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from podium_service.scoring.estimate import estimate_exact, estimate_unscored
from podium_service.scoring.significance import SIGNIFICANCE_LEVEL
from tests.service.helpers import estimate

# Two passes. Means .25 .45 .80 around .5; pass means are .5 both. Residuals -+.05 +-.05 0, so
# MS_error = 4 * .0025 / 2 = .005; MS_items = 2 * (.0625 + .0025 + .09) / 2 = .155; F = 31.
TWO_PASSES = [[0.2, 0.5, 0.8], [0.3, 0.4, 0.8]]

# Three passes with moods 0 .2 .1. Without these the rows are .3 .2 .4, .1 .3 .5, .2 .4 .3: means
# .2 .3 .4, residuals .1 -.1 0, -.1 0 .1, 0 .1 -.1. MS_error = 6 * .01 / 4 = .015;
# MS_items = 3 * (.01 + 0 + .01) / 2 = .03; F = 2.
THREE_PASSES = [[0.3, 0.2, 0.4], [0.3, 0.5, 0.7], [0.3, 0.5, 0.4]]


def test_two_passes_by_hand() -> None:
    found = estimate(TWO_PASSES)
    assert found.means == [0.25, 0.45, 0.8]
    assert found.max_stderr == pytest.approx(0.05)  # sqrt(.005 / 2)
    assert found.reliability == pytest.approx(30 / 31)  # 1 - .005 / .155
    assert found.shrinkage == found.reliability
    assert found.is_significant  # p = 1 / (1 + 31) = .03125 with 2 and 2 degrees of freedom
    # Shrunk toward .5: .5 - .25 * 30/31, .5 - .05 * 30/31, .5 + .3 * 30/31.
    assert found.scores == pytest.approx([0.2580645, 0.4516129, 0.7903226], abs=1e-7)
    assert found.has_scores


def test_three_passes_by_hand_show_no_signal() -> None:
    found = estimate(THREE_PASSES)
    assert found.means == [0.3, 0.4, 0.5]
    assert found.max_stderr == pytest.approx(sqrt(0.015 / 3))
    assert (
        not found.is_significant
    )  # p = (1 + 2 * 2 / 4) ** -2 = .25 with 2 and 4 degrees of freedom
    assert found.reliability == found.shrinkage == 0
    assert len(set(found.scores)) == 1
    assert found.scores[0] == pytest.approx(0.4)


def test_a_pass_mean_is_the_judges_mood_and_is_removed() -> None:
    moody = [[score + 0.1 for score in TWO_PASSES[0]], [score - 0.3 for score in TWO_PASSES[1]]]
    found, plain = estimate(moody), estimate(TWO_PASSES)
    assert found.stderr == pytest.approx(plain.stderr)
    assert found.reliability == pytest.approx(plain.reliability)
    assert found.means == pytest.approx([mean - 0.1 for mean in plain.means])


@pytest.mark.parametrize(("half_range", "signal"), [(0.23, True), (0.21, False)])
def test_the_signal_test_has_level_five_percent(half_range: float, signal: bool) -> None:
    # MS_error = .005 as above, MS_items = 2 * 2 a^2 / 2 = 2 a^2. With 2 and 2 degrees of freedom
    # p = 1 / (1 + F), so F = 19 is the limit: a = .218.
    a = half_range
    found = estimate([[0.45 - a, 0.55, 0.5 + a], [0.55 - a, 0.45, 0.5 + a]])
    p = float(stats.f.sf(2 * a * a / 0.005, 2, 2))
    assert isclose(p, 1 / (1 + 2 * a * a / 0.005))
    assert found.is_significant == signal == (p <= SIGNIFICANCE_LEVEL)
    assert (found.reliability == 0) != signal


def test_two_trajectories_are_enough_for_a_test() -> None:
    # Differences .4 and .44; means .3 .72; centre .51. MS_items = 2 * 2 * .21^2 = .1764.
    # Residuals +-.01, four of them: MS_error = .0004. F = 441 with 1 and 1 degrees of freedom.
    found = estimate([[0.3, 0.7], [0.3, 0.74]])
    assert stats.f.sf(441, 1, 1) == pytest.approx(0.0302917, abs=1e-6)
    assert found.is_significant
    assert found.reliability == pytest.approx(440 / 441)
    # Differences .4 and .5: MS_items .2025, MS_error .0025, F = 81, p = .07.
    assert stats.f.sf(81, 1, 1) > SIGNIFICANCE_LEVEL
    assert not estimate([[0.3, 0.7], [0.3, 0.8]]).is_significant


def test_passes_that_agree_have_no_error_and_full_reliability() -> None:
    found = estimate([[0.1, 0.2, 0.2], [0.6, 0.7, 0.7]])  # moods apart
    assert (found.max_stderr, found.reliability, found.is_significant) == (0, 1, True)
    assert found.means[1] == found.means[2]
    assert found.scores == pytest.approx([0.35, 0.45, 0.45])


def test_rounding_is_neither_signal_nor_noise() -> None:
    # .1 + .2 and .3 differ in the last bit.
    tied = estimate([[0.1 + 0.2, 0.3, 0.3], [0.3, 0.1 + 0.2, 0.3]])
    assert tied.means == [0.3, 0.3, 0.3]
    assert (tied.is_significant, tied.reliability, tied.max_stderr) == (False, 0, 0)


def test_passes_that_all_tie_have_no_signal() -> None:
    found = estimate([[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]])
    assert (found.is_significant, found.reliability, found.max_stderr) == (False, 0, 0)
    assert found.scores == pytest.approx([0.7] * 3)
    assert len(set(found.scores)) == 1


def test_passes_that_contradict_each_other_have_no_signal() -> None:
    found = estimate([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1]])
    assert (found.is_significant, found.reliability) == (False, 0)
    assert found.max_stderr == pytest.approx(sqrt(4 * 0.16 / 2 / 2))
    assert found.scores == [0.5] * 3


def test_one_pass_takes_its_noise_from_the_configuration() -> None:
    # MS_items = 2 * .09 / 2 = .09; trust = 1 - .01 / .09 = 8/9; chi2 = 18 over 2: p = exp(-9).
    found = estimate([[0.2, 0.5, 0.8]], noise_sd=0.1)
    assert found.max_stderr == pytest.approx(0.1)
    assert found.reliability is None
    assert found.shrinkage == pytest.approx(8 / 9)
    assert found.is_significant
    assert found.scores == pytest.approx([0.5 - 0.3 * 8 / 9, 0.5, 0.5 + 0.3 * 8 / 9])


@pytest.mark.parametrize(("noise_sd", "signal"), [(0.17, True), (0.18, False)])
def test_one_pass_passes_the_signal_test_against_known_noise(noise_sd: float, signal: bool) -> None:
    # Chi-square over 2 degrees of freedom: p = exp(-.09 / noise_sd^2), .044 and .062.
    assert (exp(-0.09 / noise_sd**2) <= SIGNIFICANCE_LEVEL) == signal
    found = estimate([[0.2, 0.5, 0.8]], noise_sd=noise_sd)
    assert found.is_significant == signal
    assert (found.shrinkage > 0) == signal
    assert found.reliability is None
    if not signal:
        assert found.scores == [0.5] * 3


def test_one_pass_of_unknown_noise_is_taken_as_it_comes() -> None:
    found = estimate([[0.2, 0.5, 0.8]])
    assert found.scores == found.means == [0.2, 0.5, 0.8]
    assert found.stderr is None
    assert found.reliability is None
    assert found.is_significant
    assert not estimate([[0.4, 0.4]]).is_significant


def test_the_configured_noise_gives_way_to_what_passes_show() -> None:
    assert estimate(TWO_PASSES, noise_sd=5.0) == estimate(TWO_PASSES)


def test_checks_are_certain() -> None:
    found = estimate_exact([1.0, 0.25, 0.25])
    assert found.scores == found.means == [1.0, 0.25, 0.25]
    assert (found.max_stderr, found.reliability, found.is_significant) == (0, 1, True)
    tied = estimate_exact([0.1 + 0.2, 0.3])
    assert (tied.max_stderr, tied.reliability, tied.is_significant) == (0, 0, False)


def test_nothing_to_compare_has_no_score() -> None:
    found = estimate_unscored(1)
    assert not found.has_scores
    assert not found.is_significant
    assert (found.reliability, found.stderr) == (0, None)
    assert len(found.means) == len(found.scores) == 1


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
    """MS_items, MS_error and the p value, by the textbook."""
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
def test_the_textbook_gives_the_same_numbers(scores: list[list[float]]) -> None:
    ms_items, ms_error, p = by_numpy(scores)
    assume(abs(p - SIGNIFICANCE_LEVEL) > 1e-6)
    found = estimate(scores)
    assert found.is_significant == (p <= SIGNIFICANCE_LEVEL)
    assert found.max_stderr == pytest.approx(sqrt(ms_error / len(scores)), abs=1e-9)
    expected = max(0.0, 1 - ms_error / ms_items) if found.is_significant else 0.0
    assert found.reliability == pytest.approx(expected, abs=1e-9)
    centre = np.mean(scores)
    assert found.scores == pytest.approx([centre + expected * (m - centre) for m in found.means])


@given(verdicts(GRID | st.floats(0, 1)), st.randoms(use_true_random=False), st.sampled_from([1, 9]))
@settings(max_examples=50)
def test_permuting_trajectories_permutes_the_estimate(
    scores: list[list[float]], random: Any, passes: int
) -> None:
    scores = scores[:passes]
    order = random.sample(range(len(scores[0])), len(scores[0]))
    permuted = estimate([[row[i] for i in order] for row in scores], noise_sd=0.1)
    found = estimate(scores, noise_sd=0.1)
    assert permuted.means == [found.means[i] for i in order]
    assert permuted.scores == pytest.approx([found.scores[i] for i in order], abs=1e-9)
    assert permuted.stderr == pytest.approx(found.stderr, abs=1e-9)
    assert permuted.is_significant == found.is_significant


@given(verdicts(GRID | st.floats(0, 1)), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_the_passes_means_nothing(scores: list[list[float]], random: Any) -> None:
    shuffled, found = estimate(random.sample(scores, len(scores))), estimate(scores)
    assert (shuffled.means, shuffled.is_significant) == (found.means, found.is_significant)
    assert shuffled.stderr == pytest.approx(found.stderr, abs=1e-9)


@given(verdicts(DYADIC), st.lists(DYADIC, min_size=5, max_size=5))
@settings(max_examples=50)
def test_adding_a_constant_to_a_pass_changes_nothing(
    scores: list[list[float]], moods: list[float]
) -> None:
    assume(abs(by_numpy(scores)[2] - SIGNIFICANCE_LEVEL) > 1e-6)
    found = estimate(scores)
    moody = estimate(
        [[score + mood for score in row] for row, mood in zip(scores, moods, strict=False)]
    )
    shift = sum(moods[: len(scores)]) / len(scores)
    assert moody.is_significant == found.is_significant
    assert moody.max_stderr == pytest.approx(found.max_stderr, abs=1e-9)
    assert moody.reliability == pytest.approx(found.reliability, abs=1e-9)
    assert [score - shift for score in moody.scores] == pytest.approx(found.scores, abs=1e-9)


@given(verdicts(GRID | st.floats(0, 1)), st.none() | st.floats(0.01, 1), st.sampled_from([1, 9]))
@settings(max_examples=50)
def test_scores_stay_between_the_lowest_and_the_highest_mean(
    scores: list[list[float]], noise_sd: float | None, passes: int
) -> None:
    found = estimate(scores[:passes], noise_sd)
    assert min(found.means) - 1e-12 <= min(found.scores)
    assert max(found.scores) <= max(found.means) + 1e-12
    assert 0 <= found.shrinkage <= 1
    assert found.reliability is None or 0 <= found.reliability <= 1
