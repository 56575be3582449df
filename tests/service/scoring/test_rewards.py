"""Ranks and rewards of estimates, worked out by hand with the normal distribution."""

from itertools import pairwise
from math import fsum, sqrt
from random import Random
from statistics import NormalDist, mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from podium_service.scoring.estimate import Estimate, estimate_exact, estimate_unscored
from podium_service.scoring.posterior import Component, certain, shrink
from podium_service.scoring.rewards import REWARDS, compute_rewards, mean_ranks
from podium_service.scoring.signal_ratio import PRIOR_R, RATIOS_R
from tests.service.helpers import estimate

Phi = NormalDist().cdf
KINDS = sorted(REWARDS)


def signal(means: list[float], stderr: float, shrinkage: float = 1.0) -> Estimate:
    """Return an estimate whose reliability is certain."""
    scores, errors = shrink(means, shrinkage), [stderr] * len(means)
    posterior = certain(scores, [sqrt(shrinkage) * stderr] * len(means), shrinkage)
    return Estimate(means, scores, errors, shrinkage, posterior)


def test_win_probability_equals_a_sum_by_hand() -> None:
    # Means .25 .45 .80, stderr .05, reliability 30/31: the root of the reliability is .9837388, and
    # the error of a difference sqrt(.05^2 + .05^2) = .0707107.
    # 0 over 1: Phi(-.20 / .0707107 * .9837388) = Phi(-2.78243) = .00270
    # 0 over 2: Phi(-.55 / .0707107 * .9837388) = Phi(-7.65169) = 1e-14
    # 1 over 2: Phi(-.35 / .0707107 * .9837388) = Phi(-4.86926) = 6e-7
    earned = compute_rewards(signal([0.25, 0.45, 0.8], 0.05, 30 / 31), "win_probability")
    assert earned == pytest.approx([0.0013489, 0.4986514, 0.9999997], abs=1e-7)
    a, b, c = (Phi(sqrt(30 / 31) * gap / sqrt(2 * 0.05**2)) for gap in (0.2, 0.55, 0.35))
    assert earned == pytest.approx([(2 - a - b) / 2, (a + 1 - c) / 2, (b + c) / 2])


def test_win_probability_averages_over_signal_ratios() -> None:
    # Reliabilities of 0, .5 and .8 with probabilities .2, .3 and .5: means .4 .6, stderr .1.
    shares = {0.0: 0.2, 0.5: 0.3, 0.8: 0.5}
    posterior = tuple(
        Component(weight, shrink([0.4, 0.6], share), [sqrt(share) * 0.1] * 2, share)
        for share, weight in shares.items()
    )
    estimate = Estimate([0.4, 0.6], [0.445, 0.555], [0.1, 0.1], 0.55, posterior)
    z = 0.2 / sqrt(0.02)
    expected = 0.2 * 0.5 + 0.3 * Phi(sqrt(0.5) * z) + 0.5 * Phi(sqrt(0.8) * z)
    assert compute_rewards(estimate, "win_probability") == pytest.approx([1 - expected, expected])
    assert expected < Phi(sqrt(0.55) * z)  # the mean reliability would say too much


def test_two_passes_earn_the_mean_over_their_posterior() -> None:
    # Two passes of test_estimate, F = 31; the posterior of each ratio R by the density of F.
    measured = estimate([[0.2, 0.5, 0.8], [0.3, 0.4, 0.8]])
    spread_R = 1 + 2 * RATIOS_R
    weights_R = PRIOR_R * stats.f.pdf(31 / spread_R, 2, 2) / spread_R
    weights_R /= weights_R.sum()
    by_hand = [
        fsum(
            w * Phi(sqrt(1 - 1 / a) * gap / sqrt(0.005))
            for w, a in zip(weights_R, spread_R, strict=True)
        )
        for gap in (0.2, 0.55, 0.35)
    ]
    a, b, c = by_hand
    earned = compute_rewards(measured, "win_probability")
    assert earned == pytest.approx([(2 - a - b) / 2, (a + 1 - c) / 2, (b + c) / 2], abs=1e-7)


def test_win_probability_compares_the_unshrunk_means() -> None:
    # Shrinking is the root of the reliability alone: Phi(.5 * .1 / (.1 * sqrt 2)) = Phi(.3536).
    earned = compute_rewards(signal([0.4, 0.5], stderr=0.1, shrinkage=0.25), "win_probability")
    assert earned == pytest.approx([1 - Phi(0.3535534), Phi(0.3535534)], abs=1e-7)
    assert earned[1] == pytest.approx(0.6381632, abs=1e-6)


def test_without_any_error_the_sign_decides() -> None:
    # .8 beats two of three; the .5s tie with each other, beat .2 and lose to .8.
    earned = compute_rewards(estimate_exact([0.8, 0.5, 0.5, 0.2]), "win_probability")
    assert earned == [1, 0.5, 0.5, 0]
    assert compute_rewards(estimate([[0.1, 0.2, 0.2]] * 2), "win_probability") == [0, 0.75, 0.75]


def test_one_pass_of_unknown_noise_takes_half_for_noise() -> None:
    # .2 .5 .8: variance .09, and z of a gap is gap * sqrt(.5) / sqrt(2 * .045) = gap / .42426.
    earned = compute_rewards(estimate([[0.2, 0.5, 0.8]]), "win_probability")
    near, far = Phi(0.3 / sqrt(0.18)), Phi(0.6 / sqrt(0.18))
    assert earned == pytest.approx([1 - (near + far) / 2, 0.5, (near + far) / 2])
    assert earned[2] == pytest.approx(0.840800, abs=1e-6)
    # It follows the gaps, and not the ranks alone.
    assert compute_rewards(estimate([[0.5, 0.51, 0.4]]), "win_probability")[0] > 0.6


def test_one_pass_of_known_noise_wins_by_the_normal_distribution() -> None:
    # .2 .5 .8 at noise .1: gaps of .3 and .6 over .1 * sqrt 2, averaged over the ratios.
    spread_R = 1 + RATIOS_R
    weights_R = PRIOR_R * stats.chi2.pdf(18 / spread_R, 2) / spread_R
    weights_R /= weights_R.sum()
    near, far = (
        fsum(
            w * Phi(sqrt(1 - 1 / a) * gap / sqrt(0.02))
            for w, a in zip(weights_R, spread_R, strict=True)
        )
        for gap in (0.3, 0.6)
    )
    earned = compute_rewards(estimate([[0.2, 0.5, 0.8]], noise_sd=0.1), "win_probability")
    assert earned == pytest.approx([1 - (near + far) / 2, 0.5, (near + far) / 2], abs=1e-6)


def test_exact_ties_are_exactly_half() -> None:
    earned = compute_rewards(signal([0.3, 0.7, 0.7, 0.3], stderr=0.05), "win_probability")
    assert earned[0] == earned[3]
    assert earned[1] == earned[2]
    p = Phi(0.4 / (0.05 * sqrt(2)))
    assert earned[1] == pytest.approx((0.5 + 2 * p) / 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "nothing",
    [
        estimate([[0.1, 0.5, 0.9], [0.9, 0.5, 0.1]]),
        estimate([[0.9, 0.9, 0.9]]),
        estimate_exact([0.25, 0.25, 0.25]),
        estimate_unscored(3),
        estimate([[0.3, 0.2, 0.4], [0.3, 0.5, 0.7], [0.3, 0.5, 0.4]]).test_signal(0.05),  # p = .25
        estimate([[0.2, 0.5, 0.8]], noise_sd=0.2).test_signal(0.05),  # p = .105
    ],
    ids=["contradiction", "tie", "checks tie", "unasked", "test", "test of known noise"],
)
def test_a_group_without_any_difference_earns_half_each(kind: str, nothing: Estimate) -> None:
    assert compute_rewards(nothing, kind) == [0.5] * 3


def test_differences_within_the_noise_earn_little() -> None:
    # F = 2 with 2 and 4 degrees of freedom: p = .25.
    earned = compute_rewards(
        estimate([[0.3, 0.2, 0.4], [0.3, 0.5, 0.7], [0.3, 0.5, 0.4]]), "win_probability"
    )
    assert earned[1] == pytest.approx(0.5)
    assert 0.5 < earned[2] < 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_distinct_trajectory_earns_half(kind: str) -> None:
    assert compute_rewards(estimate_unscored(1), kind) == [0.5]
    assert compute_rewards(estimate_exact([1.0]), kind) == [0.5]


def test_a_gated_trajectory_counts_as_beaten() -> None:
    measured = signal([0.2, 0.5, 0.8], stderr=0.001)
    # Of three others, 0 beats the gated one, 1 beats 0 and the gated one, and 2 beats all.
    for kind in ("win_probability", "rank"):
        assert compute_rewards(measured, kind, 1) == pytest.approx([1 / 3, 2 / 3, 1])
    assert compute_rewards(measured, "rank", 3) == pytest.approx([0.6, 0.8, 1])
    assert compute_rewards(measured, "score", 1) == pytest.approx([0.2, 0.5, 0.8])
    assert compute_rewards(estimate_unscored(1), "win_probability", 2) == [1]
    assert compute_rewards(estimate_unscored(2), "win_probability", 2) == pytest.approx([5 / 6] * 2)
    assert compute_rewards(estimate_unscored(0), "win_probability", 2) == []


def test_the_rank_reward_steps_evenly_from_1_to_0_and_ties_share() -> None:
    assert compute_rewards(signal([0.9, 0.1, 0.5], stderr=0.01), "rank") == [1, 0, 0.5]
    # Ranks 1, 2.5, 2.5, 4 of four.
    assert compute_rewards(signal([0.9, 0.5, 0.5, 0.1], stderr=0.01), "rank") == [1, 0.5, 0.5, 0]


def test_the_score_reward_is_the_shrunk_score() -> None:
    assert compute_rewards(signal([0.2, 0.8], stderr=0.1, shrinkage=0.5), "score") == pytest.approx(
        [0.35, 0.65]
    )


def test_ties_share_the_mean_rank_and_copies_count() -> None:
    assert mean_ranks([0.9, 0.1, 0.5], [1, 1, 1]) == [1, 3, 2]
    assert mean_ranks([0.5, 0.9, 0.5], [1, 1, 1]) == [2.5, 1, 2.5]
    # .5 stands for two trajectories and ties with a third: ranks 2, 3, 4 are shared, and .1 is 5th.
    assert mean_ranks([0.9, 0.5, 0.5, 0.1], [1, 2, 1, 1]) == [1, 3, 3, 5]
    assert mean_ranks([0.7], [4]) == [2.5]


SCORES = st.lists(st.integers(0, 4).map(lambda step: step / 4), min_size=1, max_size=6)


@given(SCORES.flatmap(lambda s: st.tuples(st.just(s), st.lists(
    st.integers(1, 4), min_size=len(s), max_size=len(s)))))  # fmt: skip
@settings(max_examples=50)
def test_ranks_have_the_sum_of_1_to_n(case: tuple[list[float], list[int]]) -> None:
    scores, weights = case
    num = sum(weights)
    ranks = mean_ranks(scores, weights)
    total = sum(rank * weight for rank, weight in zip(ranks, weights, strict=True))
    assert total == num * (num + 1) / 2


VERDICTS = st.tuples(st.integers(1, 4), st.integers(2, 6)).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.integers(0, 10).map(lambda step: step / 10) | st.floats(0, 1),
            min_size=shape[1],
            max_size=shape[1],
        ),
        min_size=shape[0],
        max_size=shape[0],
    )
)
NOISE = st.none() | st.floats(0.01, 0.5)


@given(VERDICTS, NOISE, st.sampled_from(KINDS), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_permuting_trajectories_permutes_rewards_bit_for_bit(
    verdicts: list[list[float]], noise_sd: float | None, kind: str, random: Any
) -> None:
    order = random.sample(range(len(verdicts[0])), len(verdicts[0]))
    permuted = [[row[index] for index in order] for row in verdicts]
    earned = compute_rewards(estimate(verdicts, noise_sd), kind)
    assert compute_rewards(estimate(permuted, noise_sd), kind) == [earned[index] for index in order]


@pytest.mark.parametrize("seed", range(5))
def test_a_reward_does_not_depend_on_the_order_of_the_others(seed: int) -> None:
    random = Random(seed)
    means = [random.random() for _ in range(16)]
    earned = compute_rewards(signal(means, stderr=0.2), "win_probability")
    order = random.sample(range(16), 16)
    permuted = signal([means[index] for index in order], stderr=0.2)
    assert compute_rewards(permuted, "win_probability") == [earned[index] for index in order]


@given(VERDICTS, NOISE, st.sampled_from(KINDS))
@settings(max_examples=50)
def test_rewards_lie_between_0_and_1_and_follow_the_means(
    verdicts: list[list[float]], noise_sd: float | None, kind: str
) -> None:
    measured = estimate(verdicts, noise_sd)
    earned = compute_rewards(measured, kind)
    assert all(0 <= reward <= 1 for reward in earned)
    by_mean = sorted(zip(measured.means, earned, strict=True))
    assert all(low[1] <= high[1] + 1e-12 for low, high in pairwise(by_mean))


@given(VERDICTS, NOISE)
@settings(max_examples=50)
def test_equal_means_earn_equal_rewards_that_average_to_half(
    verdicts: list[list[float]], noise_sd: float | None
) -> None:
    measured = estimate(verdicts, noise_sd)
    earned = compute_rewards(measured, "win_probability")
    assert mean(earned) == pytest.approx(0.5, abs=1e-9)
    assert len(set(zip(measured.means, earned, strict=True))) == len(set(measured.means))


@given(VERDICTS, NOISE, st.sampled_from(KINDS))
@settings(max_examples=50)
def test_a_constant_added_to_a_pass_changes_no_reward(
    verdicts: list[list[float]], noise_sd: float | None, kind: str
) -> None:
    halved = [[round(score * 64) / 128 for score in row] for row in verdicts]  # exact, room above
    plain = estimate(halved, noise_sd)
    shifted = estimate([[score + 0.25 for score in halved[0]], *halved[1:]], noise_sd)
    is_moved = kind == "score" and len(set(plain.scores)) > 1
    shift = 0.25 / len(halved) if is_moved else 0.0
    earned = [reward - shift for reward in compute_rewards(shifted, kind)]
    assert earned == pytest.approx(compute_rewards(plain, kind), abs=1e-9)
